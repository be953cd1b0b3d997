"""The functions of a SavedModel that TensorFlow 2 loads with its object graph."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from millrace.features.encoding import Dictionary, Encoded
from serve.servables.functions.runtime import Call, Functions, import_tensorflow
from serve.servables.servable import Array, Arrays
from serve.servables.signatures import Signature


class EagerFunctions(Functions):
    """Functions that `tf.saved_model.load` restores.

    Args:
        folder: The SavedModel.
        names: Its signatures.

    Raises:
        Exception: TensorFlow cannot load it; it raises many kinds.
    """

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self._tf = import_tensorflow()
        self._loaded = self._tf.saved_model.load(str(folder))  # kept, because it owns the variables
        self._functions = {name: self._loaded.signatures[name] for name in names}

    def bind(self, signature: Signature, columns: Mapping[str, Encoded]) -> Call:
        """See `Functions`. TensorFlow looks up strings in their dictionary; they are not copied row by row."""
        texts = {n: self._tf.constant(_some(c.values)) for n, c in columns.items() if isinstance(c, Dictionary)}

        def tensor(name: str, turn: slice | None) -> Any:
            column = columns[name]
            if isinstance(column, Dictionary):
                return self._tf.gather(texts[name], self._tf.constant(column.indices[turn or slice(None)]))
            return self._tf.constant(column if turn is None else column[turn], signature.inputs[name].dtype)

        def call(turn: slice | None) -> Arrays:
            answered = self._functions[signature.name](**{name: tensor(name, turn) for name in columns})
            return {name: _to_array(tensor) for name, tensor in answered.items()}

        return call


def _to_array(tensor: Any) -> Array:
    return np.asarray(tensor.numpy(), dtype=object if tensor.dtype.name == "string" else None)


def _some(values: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    """The values of a dictionary, at least one: TensorFlow cannot look up in an empty one."""
    return values if len(values) else np.array([""], dtype=object)
