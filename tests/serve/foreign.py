"""A SavedModel as another system writes it: several signatures, dtypes and ranks, and no manifest.

It holds what TensorFlow Serving's own test model does (``half_plus_two``: y = x / 2 + 2, as predict, regress and
classify), and an echo for each dtype.
"""

from pathlib import Path
from typing import Any, Final

from serve.servables.functions.runtime import import_tensorflow
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


def write_uneven(folder: Path) -> None:
    """Write a model whose outputs do not have one row per row of its inputs, though the signatures do not say so.

    `serving_default` and `kept` return a row more often than others, or not at all; `words` splits texts. `odd` has
    outputs without rows: a scalar, one of unknown rank, and an empty one. `undecoded` fails on texts that are not
    numbers, `failed` with the bytes of its input in the message.
    """
    tf = import_tensorflow()

    class Model(tf.Module):  # type: ignore[name-defined, misc] # the base has no types
        def __init__(self) -> None:
            super().__init__()
            self.two = tf.Variable(2.0)

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, "x")])
        def unique(self, x: Any) -> Any:
            return {"same": x * self.two, "unique": tf.unique(x).y}

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, "x")])
        def kept(self, x: Any) -> Any:
            return {"same": x * 2.0, "kept": tf.boolean_mask(x, x >= 0)}

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "text")])
        def words(self, text: Any) -> Any:
            return {"same": text, "words": tf.strings.split(text).values}

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, "x"), tf.TensorSpec(None, tf.int32, "shape")])
        def odd(self, x: Any, shape: Any) -> Any:
            any_rank = tf.reshape(x, tf.reshape(shape, [-1]))
            return {"total": tf.reduce_sum(x), "any": any_rank, "none": x[:0], "same": x}

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "text")])
        def undecoded(self, text: Any) -> Any:
            return {"number": tf.strings.to_number(text)}

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "text")])
        def failed(self, text: Any) -> Any:
            with tf.control_dependencies([tf.debugging.Assert(tf.size(text) > 9, [text])]):
                return {"text": tf.identity(text)}

    model = Model()
    names = ("kept", "words", "odd", "undecoded", "failed")
    functions = {"serving_default": model.unique, **{name: getattr(model, name) for name in names}}
    tf.saved_model.save(model, str(folder), signatures=functions)


def _set_methods(folder: Path, methods: dict[str, str]) -> None:
    """Name the kind of a signature, which TensorFlow 2 has no argument for."""
    from tensorflow.core.protobuf import saved_model_pb2

    path = folder / "saved_model.pb"
    model = saved_model_pb2.SavedModel()
    model.ParseFromString(path.read_bytes())
    for name, method in methods.items():
        model.meta_graphs[0].signature_def[name].method_name = method
    path.write_bytes(model.SerializeToString())
