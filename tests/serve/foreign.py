"""A SavedModel as another system writes it: several signatures, dtypes and ranks, and no manifest.

It holds what TensorFlow Serving's own test model does (``half_plus_two``: y = x / 2 + 2, as predict, regress and
classify), and an echo for each dtype.
"""

from pathlib import Path
from typing import Any, Final

from serve.servables.saved_model import import_tensorflow
from serve.servables.signatures import CLASSIFY, REGRESS

ECHOED: Final = {
    "bool": (-1,),
    "uint8": (-1, 2, 2),
    "uint16": (-1,),
    "uint32": (-1,),
    "uint64": (-1,),
    "int8": (-1,),
    "int16": (-1,),
    "int32": (),
    "int64": (-1,),
    "float16": (-1,),
    "bfloat16": (-1,),
    "float32": (-1, 2, 3, 1),
    "float64": (-1,),
    "string": (-1, -1),
}
"""Input ``<dtype>_in`` by dtype and shape; output ``<dtype>`` is the same."""


def write_foreign(folder: Path) -> None:
    """Write the model."""
    tf = import_tensorflow()

    class Model(tf.Module):  # type: ignore[name-defined, misc] # the base has no types
        def __init__(self) -> None:
            super().__init__()
            self.half = tf.Variable(0.5)

        @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, "x")])
        def predict(self, x: Any) -> Any:
            return {"y": self.half * x + 2.0}

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "inputs")])
        def regress(self, inputs: Any) -> Any:
            parsed = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([1], tf.float32)})
            return {"outputs": self.half * parsed["x"] + 2.0}

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "inputs")])
        def classify(self, inputs: Any) -> Any:
            parsed = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([1], tf.float32)})
            return {"scores": self.half * parsed["x"] + 2.0}

        @tf.function(input_signature=[tf.TensorSpec((None, None), tf.float32, "x")])
        def double(self, x: Any) -> Any:
            return {"y": x + x}

        @tf.function(
            input_signature=[
                tf.TensorSpec([None if size == -1 else size for size in shape], dtype, f"{dtype}_in")
                for dtype, shape in ECHOED.items()
            ]
        )
        def echo(self, *values: Any) -> Any:
            return {dtype: tf.identity(value) for dtype, value in zip(ECHOED, values, strict=True)}

    model = Model()
    functions = {
        "serving_default": model.predict,
        "regress_x_to_y": model.regress,
        "classify_x_to_y": model.classify,
        "double": model.double,
        "echo": model.echo,
    }
    tf.saved_model.save(model, str(folder), signatures=functions)
    _set_methods(folder, {"regress_x_to_y": REGRESS, "classify_x_to_y": CLASSIFY})


def _set_methods(folder: Path, methods: dict[str, str]) -> None:
    """Name the kind of a signature, which TensorFlow 2 has no argument for."""
    from tensorflow.core.protobuf import saved_model_pb2

    path = folder / "saved_model.pb"
    model = saved_model_pb2.SavedModel()
    model.ParseFromString(path.read_bytes())
    for name, method in methods.items():
        model.meta_graphs[0].signature_def[name].method_name = method
    path.write_bytes(model.SerializeToString())
