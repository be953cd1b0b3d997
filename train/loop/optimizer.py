"""An Adam optimizer that averages gradients over all ranks.

With Keras 3, Horovod's own `DistributedOptimizer` averages nothing and reports no error, so the weights of the ranks
become different. This optimizer averages inside `apply`; `train.loop.callbacks` compares the weights after every epoch.
"""

from typing import Any


def synchronised_adam(learning_rate: Any) -> Any:
    """Build the optimizer; TensorFlow and Horovod are imported only here, in the rank."""
    import horovod.tensorflow as hvd
    import keras
    import tensorflow as tf

    class SynchronisedAdam(keras.optimizers.Adam):  # type: ignore[misc] # keras has no types
        """Adam with gradients averaged over all ranks."""

        def apply(self, grads: list[Any], trainable_variables: list[Any] | None = None) -> Any:
            # The gradient of an embedding is sparse; the grouped reduction accepts dense tensors only. A weight that
            # the loss does not depend on has no gradient, on every rank; Keras warns of it and leaves it as it is.
            dense = [tf.convert_to_tensor(gradient) for gradient in grads if gradient is not None]
            averaged = iter(hvd.grouped_allreduce(dense, op=hvd.Average) if dense else ())
            return super().apply([g if g is None else next(averaged) for g in grads], trainable_variables)

    return SynchronisedAdam(learning_rate=learning_rate)
