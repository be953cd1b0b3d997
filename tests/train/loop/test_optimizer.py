"""Gradients are really averaged over ranks."""

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.spark, pytest.mark.tf]


def one_step(names: tuple[str, ...]) -> list[float]:
    """Apply the gradient rank + 1 once, dense or sparse; returns the first momentum that Adam kept of it."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import horovod.tensorflow as hvd
    import keras
    import tensorflow as tf

    from train.loop.optimizer import synchronised_adam

    hvd.init()
    gradient = float(hvd.rank() + 1)
    found = []
    for name in names:
        variable = keras.Variable([[0.0], [0.0]])
        optimizer = synchronised_adam(0.1) if name != "keras" else keras.optimizers.Adam(0.1)
        optimizer.build([variable])
        dense = tf.constant([[gradient], [0.0]])
        sparse = tf.IndexedSlices(tf.constant([[gradient]]), tf.constant([0]), tf.constant([2, 1]))
        optimizer.apply([sparse if name == "sparse" else dense], [variable])
        found.append(float(optimizer._momentums[0].value[0, 0]))
    left_out, used = keras.Variable([3.0]), keras.Variable([0.0])
    optimizer = synchronised_adam(0.1)
    optimizer.build([left_out, used])
    optimizer.apply([None, tf.constant([gradient])], [left_out, used])
    return [*found, float(left_out.value[0]), float(optimizer._momentums[1].value[0])]


@pytest.mark.case("B10")
@pytest.mark.filterwarnings("ignore:Gradients do not exist for variables")
def test_both_ranks_keep_the_mean_gradient(spark: "SparkSession") -> None:
    import horovod.spark

    results = horovod.spark.run(one_step, args=(("dense", "sparse", "keras"),), num_proc=2, use_gloo=True, verbose=0)
    # Adam keeps a tenth of the gradient: of the mean 1.5 in both ranks; Keras' own of each rank's alone.
    assert [result[:2] for result in results] == [pytest.approx([0.15, 0.15])] * 2
    assert [result[2] for result in results] == pytest.approx([0.1, 0.2])
    # A weight without a gradient stays as it is, and does not keep the others from being trained.
    assert [result[3:] for result in results] == [pytest.approx([3.0, 0.15])] * 2
