"""Training steps: the mean loss over the rows of all ranks, its gradient, and one update of the weights.

Keras' ``fit`` is not used. It weights the loss of a step by the rows of one rank, and takes some steps twice.
"""

from typing import Any

from train.data.rows import Array
from train.data.target import Target


class Steps:
    """Takes steps together with the other ranks; all ranks have the same weights after each.

    The gradient is that of the mean over the rows that have a weight above 0, on all ranks, of weight * loss. Then two
    ranks make the same update as one with the same rows, even if their shares of the rows differ.

    Args:
        trunk: The Keras model from encoded inputs to scores.
        target: Names the loss.
        optimizer: Makes the updates.
    """

    def __init__(self, trunk: Any, target: Target, optimizer: Any) -> None:
        import tensorflow as tf

        self.trunk = trunk
        self.optimizer = optimizer
        self._loss = target.loss()
        self._trainable = trunk.trainable_variables
        optimizer.build(self._trainable)
        # Without AutoGraph: it leaves its generated code in the temporary folder when a rank is killed.
        self._run = tf.function(self._take_steps, autograph=False, reduce_retracing=True)

    def take(self, batches: Any, count: int) -> tuple[Array, Array]:
        """Take `count` steps.

        Args:
            batches: Iterator over a `tf.data.Dataset` of inputs, labels of shape (n, 1), weights of shape (n,).
            count: How many.

        Returns:
            The loss of each step over the rows of all ranks, and the number of these rows; both of shape (count,).
        """
        import tensorflow as tf

        losses, rows = self._run(batches, tf.constant(count)).numpy().T
        return losses, rows

    def _take_steps(self, batches: Any, count: Any) -> Any:
        import tensorflow as tf

        def body(step: Any, losses: Any) -> tuple[Any, Any]:
            return step + 1, losses.write(step, self._step(*next(batches)))

        losses = tf.TensorArray(tf.float64, count, element_shape=(2,))
        _, losses = tf.while_loop(lambda step, _: step < count, body, (tf.constant(0), losses), parallel_iterations=1)
        return losses.stack()

    def _step(self, inputs: Any, label: Any, weight: Any) -> Any:
        import horovod.tensorflow as hvd
        import tensorflow as tf

        rows = tf.reduce_sum(tf.cast(weight > 0, tf.float32))
        with tf.GradientTape() as tape:
            scores = self.trunk(inputs, training=True)
            summed = self._loss(label, scores, sample_weight=weight)
            penalty = tf.add_n(self.trunk.losses) if self.trunk.losses else tf.constant(0.0)
            objective = summed + penalty * rows
        gradients = tape.gradient(objective, [variable.value for variable in self._trainable])
        total, all_rows = tf.unstack(
            hvd.allreduce(tf.cast(tf.stack([summed + penalty * rows, rows]), tf.float64), op=hvd.Sum, name="loss")
        )
        scale = 1 / tf.maximum(all_rows, 1.0)
        # A weight that the loss does not depend on has no gradient, on every rank; Keras warns of it and leaves the
        # weight as it is.
        present = [position for position, gradient in enumerate(gradients) if gradient is not None]
        for position, summed in zip(present, _sum_over_ranks([gradients[each] for each in present]), strict=True):
            mean = summed * tf.cast(scale, summed.dtype)
            gradients[position] = tf.cast(mean, gradients[position].dtype)
        self.optimizer.apply(gradients, self._trainable)
        return tf.stack([total * scale, all_rows])


def _sum_over_ranks(gradients: list[Any]) -> list[Any]:
    """The sums of the ranks' gradients, as dense tensors of at least 32 bits.

    The gradient of an embedding is sparse; a grouped reduction accepts only dense tensors of one type. A sum of 16 bits
    would lose digits.
    """
    import horovod.tensorflow as hvd
    import tensorflow as tf

    dense = [tf.convert_to_tensor(gradient) for gradient in gradients]
    dense = [tf.cast(each, tf.float32) if each.dtype.size < tf.float32.size else each for each in dense]
    sums: dict[int, Any] = {}
    for dtype in sorted({each.dtype for each in dense}, key=str):
        group = [position for position, each in enumerate(dense) if each.dtype == dtype]
        reduced = hvd.grouped_allreduce([dense[position] for position in group], op=hvd.Sum)
        sums.update(zip(group, reduced, strict=True))
    return [sums[position] for position in range(len(dense))]
