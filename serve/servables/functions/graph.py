"""The functions of a SavedModel by its graph and signatures alone, as TensorFlow Serving loads it.

Models of older versions of Keras have objects that TensorFlow 2 cannot restore, though their graph and variables are
complete.
"""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from millrace.features.encoding import Dictionary, Encoded
from serve.errors import InvalidRequest
from serve.servables.functions.runtime import Call, Functions, import_tensorflow
from serve.servables.servable import Array, Arrays
from serve.servables.signatures import SERVE_TAG, Signature


class GraphFunctions(Functions):
    """The graph of a SavedModel in a session of its own: variables restored, tables and assets initialised.

    Args:
        folder: The SavedModel.
        signatures: Its functions.
        threads: Number of threads of the session; by default TensorFlow's choice.

    Raises:
        Exception: TensorFlow cannot load it; it raises many kinds.
    """

    def __init__(self, folder: Path, signatures: Mapping[str, Signature], threads: int | None = None) -> None:
        tf = import_tensorflow(threads)
        count = threads or 0
        settings = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=count,
            inter_op_parallelism_threads=count,
            allow_soft_placement=True,  # as TensorFlow 2 does: the graph may name a device of another machine
        )
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph, config=settings)
        try:
            with graph.as_default(), _no_advice(tf.get_logger()):
                tf.compat.v1.saved_model.load(self._session, [SERVE_TAG], str(folder))
            graph.finalize()
            self._feeds = {name: _tensors(graph, one, "inputs") for name, one in signatures.items()}
            self._fetches = {name: _tensors(graph, one, "outputs") for name, one in signatures.items()}
        except BaseException:
            self._session.close()
            raise

    def bind(self, signature: Signature, columns: Mapping[str, Encoded]) -> Call:
        """See `Functions`."""
        feeds, fetches = self._feeds[signature.name], self._fetches[signature.name]
        for name, column in columns.items():
            # A placeholder may be stricter than its signature. `Session.run` would raise an error without a code.
            if not feeds[name].shape.is_compatible_with(_shape_of(column)):
                expected, found = feeds[name].shape.as_list(), list(_shape_of(column))
                raise InvalidRequest(f"input '{name}': the graph takes shape {expected}, found {found}")

        def call(turn: slice | None) -> Arrays:
            fed = {feeds[name]: _rows(column, turn) for name, column in columns.items()}
            answered = self._session.run(fetches, fed)
            return {name: _to_array(value, fetches[name].dtype.name) for name, value in answered.items()}

        return call


@contextlib.contextmanager
def _no_advice(tensorflows: logging.Logger) -> Iterator[None]:
    """Hide TensorFlow's advice to use the loader that has just failed."""
    before = tensorflows.level
    tensorflows.setLevel(logging.ERROR)
    try:
        yield
    finally:
        tensorflows.setLevel(before)


def _tensors(graph: Any, signature: Signature, side: str) -> dict[str, Any]:
    """The tensors of the graph by input or output."""
    listed = signature.definition[side]
    return {name: graph.get_tensor_by_name(info["name"]) for name, info in listed.items()}


def _to_array(value: Any, dtype: str) -> Array:
    return np.asarray(value, dtype=object if dtype == "string" else None)


def _shape_of(column: Encoded) -> tuple[int, ...]:
    return (len(column),) if isinstance(column, Dictionary) else column.shape


def _rows(column: Encoded, turn: slice | None) -> Array:
    if isinstance(column, Dictionary):
        column = column.values[column.indices]
    return column if turn is None else column[turn]
