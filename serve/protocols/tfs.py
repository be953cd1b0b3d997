"""TensorFlow Serving's REST protocol: predict in row and column form, status, metadata.

Rules and messages are those of its ``util/json_tensor.cc``. For models trained by Millrace the messages add the nearest
name for a wrong key, and whether an input accepts null.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from millrace.dotted import suggestion
from serve.errors import BadValue, InvalidRequest, Unimplemented
from serve.servables.signatures import JSON_DTYPES, SERVING_DEFAULT, Signature, TensorInfo, find_signature
from serve.values.arrays import TENSORFLOW_NAMES, Array, encode_values, is_plain
from serve.values.document import MAX_SHOWN, describe, dump_json, parse_json
from serve.values.nested import BadRow, BadShape, decode_rows, decode_tensor

POST_PATH: Final = re.compile(
    r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?:(?P<method>classify|regress|predict)",
    re.IGNORECASE | re.ASCII,
)
GET_PATH: Final = re.compile(
    r"/v1/models(?:/(?P<name>[^/:]+))?(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?(?:/(?P<method>metadata))?",
    re.IGNORECASE | re.ASCII,
)
"""TensorFlow Serving's patterns (``http_rest_api_handler.cc``), for the whole path before percent-decoding."""


@dataclass(frozen=True)
class PredictRequest:
    """A predict request whose values are still JSON.

    Attributes:
        signature: The signature.
        value: The value of ``instances`` or ``inputs``.
        is_row_form: Whether it is ``instances``, so that the response is ``predictions``.
        parameters: The parameters of the request.
    """

    signature: Signature
    value: Any
    is_row_form: bool
    parameters: Any = None
    is_exact = True

    @property
    def rows(self) -> int:
        """The number of rows; 1 in column form."""
        return len(self.value) if self.is_row_form and isinstance(self.value, list) else 1

    def columns(self) -> dict[str, Sequence[Any]] | None:
        """The values by input, all of the same length; None if anything is unusual, which `inputs` then reports."""
        names, value = self.signature.inputs, self.value
        if not self.is_row_form or type(value) is not list or not names:
            return None
        if len(names) == 1 and value and is_plain(value[0]):
            return {name: value for name in names} if all(map(is_plain, value)) else None
        if not value or any(type(row) is not dict or len(row) != len(names) for row in value):
            return None
        try:
            rows = list(map(self.signature.row_of, value))
        except KeyError:
            return None
        return dict(zip(names, zip(*rows, strict=True) if len(names) > 1 else [rows], strict=True))

    def inputs(self) -> dict[str, Array]:
        """One tensor per input.

        Raises:
            InvalidRequest: A value does not fit; the message says the input and row, what was expected and found.
            Unimplemented: JSON has no form for an input's dtype.
        """
        decode = _decode_instances if self.is_row_form else _decode_inputs
        return decode(self.value, self.signature)


def decode_document(body: bytes, signatures: Mapping[str, Signature]) -> tuple[dict[str, Any], Signature]:
    """Parse a body and find its signature.

    Raises:
        InvalidRequest: It is not a JSON object, or its ``signature_name`` is not a string.
        UnknownSignature: The model has no such signature.
    """
    document = parse_json(body)
    if not isinstance(document, dict):
        raise InvalidRequest(f"JSON Value: {describe(document)} Is not object")
    name = document.get("signature_name", SERVING_DEFAULT)
    if not isinstance(name, str):
        raise InvalidRequest(
            f"JSON Value: {describe(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return document, find_signature(signatures, name or SERVING_DEFAULT)


def decode_predict(body: bytes, signatures: Mapping[str, Signature]) -> PredictRequest:
    """Read a predict request without decoding its values.

    Raises:
        InvalidRequest: It is not JSON, or has neither instances nor inputs.
        UnknownSignature: The model has no such signature.
    """
    document, signature = decode_document(body, signatures)
    if "instances" in document and "inputs" in document:
        raise InvalidRequest(
            f"JSON Value: {describe(document)} Not formatted correctly expecting only one of "
            "'inputs' or 'instances' keys to exist"
        )
    if "instances" in document:
        return PredictRequest(signature, document["instances"], True, document.get("parameters"))
    if "inputs" in document:
        return PredictRequest(signature, document["inputs"], False, document.get("parameters"))
    raise InvalidRequest("Missing 'inputs' or 'instances' key")


def _decode_instances(rows: Any, signature: Signature) -> dict[str, Array]:
    if not isinstance(rows, list):
        raise InvalidRequest(f"JSON Value: {describe(rows)} Excepting 'instances' to be an list/array")
    if not rows:
        raise InvalidRequest("JSON Value: [] No values in 'instances' array")
    inputs = signature.inputs
    if is_plain(rows[0]):
        columns, is_named = {_only_input(signature, "instances is a plain list"): rows}, False
        for number, row in enumerate(rows):
            if not is_plain(row):
                raise InvalidRequest(f"Expecting value/list but got object at item {number} of input list")
    else:
        for number, row in enumerate(rows):
            if is_plain(row):
                raise InvalidRequest(f"Expecting object but got list at item {number} of input list")
            if row.keys() != inputs.keys():
                raise InvalidRequest(_name_problems(number, row, signature))
        columns, is_named = {name: [row[name] for row in rows] for name in inputs}, True
    decoded, problems = {}, []
    for name, column in columns.items():
        _check_dtype(inputs[name], column)
        try:
            decoded[name] = decode_rows(column, inputs[name])
        except BadRow as error:
            key = f" key: {name}" if is_named else ""
            problems.append(
                f"Failed to process element: {error.row}{key} of 'instances' list. "
                f"Error: INVALID_ARGUMENT: {error.reason}"
            )
    if problems:
        raise InvalidRequest(problems)
    return decoded


def _decode_inputs(value: Any, signature: Signature) -> dict[str, Array]:
    columns = {_only_input(signature, "inputs is a plain value/list"): value} if is_plain(value) else value
    decoded, problems = {}, []
    for name, info in signature.inputs.items():
        if name not in columns:
            raise InvalidRequest(f"Missing named input: {name} in 'inputs' object.{_nearest(name, columns)}")
        _check_dtype(info, columns[name])
        try:
            decoded[name] = decode_tensor(columns[name], info)
        except (BadShape, BadValue) as error:
            reason = error.reason if isinstance(error, BadValue) else str(error)
            position = f" value: {error.position}" if isinstance(error, BadValue) else ""
            problems.append(f"Failed to process key: {name}{position} of 'inputs' object. Error: {reason}")
    if problems:
        raise InvalidRequest(problems)
    return decoded


def _only_input(signature: Signature, what: str) -> str:
    if len(signature.inputs) != 1:
        listed = ",".join(signature.inputs)
        raise InvalidRequest(
            f"{what}, but expecting an object for each row, or one of columns, "
            f"as multiple input tensors required: {listed}"
        )
    return next(iter(signature.inputs))


def _check_dtype(info: TensorInfo, value: Any) -> None:
    if info.dtype not in JSON_DTYPES:
        name = TENSORFLOW_NAMES.get(info.dtype, info.dtype)
        raise Unimplemented(f"Conversion of JSON Value: {describe(value)} to type: {name}")


def _name_problems(number: int, row: dict[str, Any], signature: Signature) -> str:
    missing = [name for name in signature.inputs if name not in row]
    unknown = next((name for name in row if name not in signature.inputs), None)
    if unknown is not None:
        shown = describe(unknown)[1:-1]
        near = suggestion(unknown[:MAX_SHOWN], missing or list(signature.inputs))
        return (
            f"Failed to process element: {number} key: {shown} of 'instances' list. Error: INVALID_ARGUMENT: "
            f"JSON object: does not have named input: {shown}; {near}"
        )
    listed, lacking = ",".join(signature.inputs), ",".join(missing)
    return (
        f"Failed to process element: {number} of 'instances' list. JSON object: {describe(row)} "
        f"keys must be equal to: {listed}; missing: {lacking}"
    )


def _nearest(name: str, columns: Mapping[str, Any]) -> str:
    near = suggestion(name, [key[:MAX_SHOWN] for key in columns][:MAX_SHOWN]) if columns else ""
    return f" {near}" if near.startswith("did you mean") else ""


def encode_predict(outputs: Mapping[str, Array], is_row_form: bool) -> bytes:
    """Write a predict response: plain values for a model with one output, else objects by name.

    Raises:
        InvalidRequest: The request has row form, but the outputs do not have one entry per row; or JSON has no form for
            a dtype.
    """
    if not outputs:
        raise InvalidRequest("Cannot convert empty tensor map to JSON")
    for name, values in outputs.items():
        if values.dtype.kind != "O" and values.dtype.name not in JSON_DTYPES:
            raise InvalidRequest(f"Output '{name}': JSON has no form for tensor type: {values.dtype.name}")
    if is_row_form:
        _check_rows(outputs)
    columns = {name: encode_values(name, values) for name, values in outputs.items()}
    non_finite = has_non_finite(outputs)
    if len(columns) == 1:
        answer = next(iter(columns.values()))
    elif is_row_form:
        names = list(columns)
        answer = [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    else:
        answer = columns
    return dump_json({"predictions" if is_row_form else "outputs": answer}, non_finite=non_finite)


def _check_rows(outputs: Mapping[str, Array]) -> None:
    rows: int | None = None
    for name, values in outputs.items():
        if not values.ndim:
            raise InvalidRequest(f"Tensor name: {name} has no shape information")
        rows = len(values) if rows is None else rows
        if len(values) != rows:
            raise InvalidRequest(f"Tensor name: {name} has inconsistent batch size: {len(values)} expecting: {rows}")


def encode_metadata(name: str, version: int, signatures: Mapping[str, Signature]) -> bytes:
    """Write a model's metadata; the double nesting is TF Serving's."""
    model = {"name": name, "signature_name": "", "version": str(version)}
    definitions = {key: signature.definition for key, signature in signatures.items()}
    return dump_json({"model_spec": model, "metadata": {"signature_def": {"signature_def": definitions}}})


def encode_status(name: str, *, ready: bool, versions: Sequence[tuple[int, str, str]], problem: str = "") -> bytes:
    """Write a model's status: TF Serving's list, and KServe's ``name`` and ``ready`` beside it.

    Args:
        name: The model.
        ready: Whether a version of it is loaded.
        versions: Number, state and error message of each.
        problem: Why no version answers, as the field ``reason``; empty if one does.
    """
    listed = [
        {
            "version": str(number),
            "state": state,
            "status": {"error_code": "UNAVAILABLE" if message else "OK", "error_message": message},
        }
        for number, state, message in sorted(versions, reverse=True)
    ]
    reason = {"reason": problem} if problem else {}
    return dump_json({"name": name, "ready": ready, **reason, "model_version_status": listed})


def has_non_finite(outputs: Mapping[str, Array]) -> bool:
    """Whether a float is NaN or infinite, for which TensorFlow Serving writes tokens that JSON does not have."""
    return any(values.dtype.kind == "f" and not np.isfinite(values).all() for values in outputs.values())
