"""An Adam that averages gradients over all ranks.

Horovod's own `DistributedOptimizer` does not synchronise anything under Keras 3, without a word: the ranks' weights
drift apart. Averaging inside `apply` does, and `train.loop.callbacks` compares the ranks' weights after every epoch.
"""

from typing import Any


def synchronised_adam(learning_rate: Any) -> Any:
    """Build the optimizer; TensorFlow and Horovod are imported here, in the rank."""
    import horovod.tensorflow as hvd
    import keras
    import tensorflow as tf

    class SynchronisedAdam(keras.optimizers.Adam):  # type: ignore[misc] # keras has no types
        """Adam on gradients averaged over ranks."""

        def apply(self, grads: list[Any], trainable_variables: list[Any] | None = None) -> Any:
            # An embedding's gradient is sparse, and the grouped reduction takes dense tensors only.
            dense = [tf.convert_to_tensor(gradient) for gradient in grads]
            return super().apply(hvd.grouped_allreduce(dense, op=hvd.Average), trainable_variables)

    return SynchronisedAdam(learning_rate=learning_rate)
