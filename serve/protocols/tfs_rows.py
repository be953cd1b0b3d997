"""TensorFlow Serving's predict, with errors per row: ``"parameters": {"on_row_error": "report"}``."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from serve.errors import BadValue, InvalidRequest
from serve.inference.rowwise import Reported
from serve.protocols.tfs import PredictRequest, has_non_finite
from serve.servables.signatures import JSON_DTYPES, TensorInfo
from serve.values.arrays import Array, encode_values, is_plain
from serve.values.document import describe, dump_json
from serve.values.nested import BadShape, decode_tensor


class PredictRows:
    """The rows of a predict request.

    Args:
        request: The request; columns are converted to rows.

    Raises:
        InvalidRequest: It has no rows.
    """

    def __init__(self, request: PredictRequest) -> None:
        self._request = replace(request, value=_rows_of(request), is_row_form=True)

    @property
    def count(self) -> int:
        """The number of rows."""
        return len(self._request.value)

    def check(self, row: int) -> tuple[str, str] | None:
        """The field and the error of a bad row; None for a good one."""
        inputs, value = self._request.signature.inputs, self._request.value[row]
        if is_plain(value):
            if len(inputs) != 1:
                return "", f"expected an object of {', '.join(inputs)}, found {describe(value)}"
            value = dict.fromkeys(inputs, value)
        for name in [*inputs, *value]:
            if name not in value:
                return name, "is missing"
            if name not in inputs:
                return name[:64], "is not an input of the model"
        return next(((name, rule) for name, info in inputs.items() if (rule := _rule_of(value[name], info))), None)

    def only(self, rows: Sequence[int]) -> PredictRequest:
        """The request with only these rows."""
        names, values = self._request.signature.inputs, [self._request.value[row] for row in rows]
        if any(map(is_plain, values)) and not all(map(is_plain, values)):
            values = [dict.fromkeys(names, value) if is_plain(value) else value for value in values]
        return replace(self._request, value=values)


def _rule_of(value: Any, info: TensorInfo) -> str:
    if info.dtype not in JSON_DTYPES:
        return f"JSON has no form for {info.dtype}"
    try:
        tensor = decode_tensor(value, info)
    except BadValue as error:
        return error.reason
    except BadShape as error:
        return str(error)
    return (
        ""
        if info.takes((1, *tensor.shape))
        else f"expected shape {list((info.shape or ())[1:])}, found {list(tensor.shape)}"
    )


def _rows_of(request: PredictRequest) -> list[Any]:
    value, names = request.value, request.signature.inputs
    if not request.is_row_form:
        columns = {name: value for name in names} if is_plain(value) and len(names) == 1 else value
        if not isinstance(columns, dict) or not all(isinstance(columns.get(name), list) for name in names):
            raise InvalidRequest(f"inputs: expected a list of values for each of {', '.join(names)}")
        lengths = {len(columns[name]) for name in names}
        if len(lengths) > 1:
            raise InvalidRequest("inputs: expected as many values in each list")
        value = [dict(zip(names, row, strict=True)) for row in zip(*(columns[name] for name in names), strict=True)]
    if not isinstance(value, list) or not value:
        raise InvalidRequest(f"expected a list of at least one row, found {describe(value)}")
    return value


def encode_reported(reported: Reported, is_row_form: bool) -> bytes:
    """Write a response with all rows: null for a bad row, and its error under ``row_errors``."""
    columns = {name: _with_nulls(name, values, reported) for name, values in reported.outputs.items()}
    answer: Any = columns
    if len(columns) == 1:
        answer = next(iter(columns.values()))
    elif is_row_form:
        rows = zip(*columns.values(), strict=True)
        oks = reported.row_ok.tolist()
        answer = [dict(zip(columns, row, strict=True)) if ok else None for row, ok in zip(rows, oks, strict=True)]
    errors = [error.as_dict() for error in reported.errors]
    answered = {"predictions" if is_row_form else "outputs": answer, "row_errors": errors}
    good = {name: values[reported.row_ok] for name, values in reported.outputs.items()}
    return dump_json(answered, non_finite=has_non_finite(good))


def _with_nulls(name: str, values: Array, reported: Reported) -> list[Any]:
    oks = reported.row_ok.tolist()
    return [value if ok else None for value, ok in zip(encode_values(name, values), oks, strict=True)]
