"""The Open Inference Protocol, with errors per row: ``"parameters": {"on_row_error": "report"}``."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from serve.errors import BadValue, InvalidRequest
from serve.inference.inputs import Decoded
from serve.inference.rowwise import Reported
from serve.protocols.oip import ROW_OK, InferRequest
from serve.values.arrays import Array, decode_values
from serve.values.tensors import unfit

if TYPE_CHECKING:
    from serve.servables.signatures import TensorInfo


class InferRows:
    """The rows of an infer request.

    Args:
        request: The request.

    Raises:
        InvalidRequest: The tensors do not fit, apart from their values.
    """

    def __init__(self, request: InferRequest) -> None:
        self._columns: dict[str, tuple[TensorInfo, tuple[int, ...], list[Any] | Array]] = {}
        for tensor in request.read():
            # Without the feature, bytes are decoded but not checked: `check` does that per row.
            values: Any = tensor.values
            if isinstance(values, memoryview):
                values = replace(tensor, info=replace(tensor.info, feature=None)).decode()
            self._columns[tensor.name] = (tensor.info, tensor.shape, values)
        counts = {shape[0] for _, shape, _ in self._columns.values()}
        if len(counts) != 1:
            raise InvalidRequest("the inputs have different numbers of rows")
        self.count = counts.pop()

    def check(self, row: int) -> tuple[str, str] | None:
        """The input and the error of a bad row; None for a good one."""
        for name, (info, shape, values) in self._columns.items():
            if isinstance(values, np.ndarray):
                if unfit(values[row : row + 1].ravel(), info).any():
                    return name, "a value that the input does not accept"
                continue
            size = math.prod(shape[1:])
            try:
                decode_values(values[row * size : (row + 1) * size], info, exact=False)
            except BadValue as error:
                return name, error.reason
        return None

    def only(self, rows: Sequence[int]) -> Decoded:
        """The request with only these rows."""
        decoded = {}
        for name, (info, shape, values) in self._columns.items():
            if isinstance(values, np.ndarray):
                decoded[name] = values[list(rows)]
                continue
            size = math.prod(shape[1:])
            taken = [value for row in rows for value in values[row * size : (row + 1) * size]]
            decoded[name] = decode_values(taken, info, exact=False).reshape(len(rows), *shape[1:])
        return Decoded(decoded)


def with_row_ok(outputs: Reported) -> dict[str, Array]:
    """The outputs, and `ROW_OK`, which says whether each row is good."""
    return {**outputs.outputs, ROW_OK: outputs.row_ok}
