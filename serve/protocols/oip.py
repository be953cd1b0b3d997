"""The Open Inference Protocol, version 2: infer with JSON and binary tensors.

Sources: KServe's ``docs/predict-api/v2/required_api.md``; Triton's ``docs/protocol`` for binary tensors and
classification.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import numpy as np

from serve.errors import InvalidRequest
from serve.monitoring.correlation import new_id
from serve.servables.signatures import Signature, TensorInfo, default_signature, find_signature
from serve.values.arrays import Array
from serve.values.content_types import BASE64, DATETIME, PARAMETER, TEXT, content_type_of
from serve.values.document import describe, dump_json, parse_json
from serve.values.named_tensors import NamedTensor, decode_tensors, parameters_of, read_tensors
from serve.values.tensors import datatype_of, dtype_of, encode_binary, encode_json

LENGTH_HEADER: Final = b"inference-header-content-length"
ROW_OK: Final = "row_ok"
"""Name of the output that says whether each row is good, for a request with ``on_row_error: report``."""
EXTENSIONS: Final = (
    "binary_tensor_data",
    "binary_data",
    "classification",
    "model_configuration",
    "model_repository",
    "model_repository_extension",
    "statistics",
)
"""In the spellings of Triton and of KServe."""


@dataclass(frozen=True)
class WantedOutput:
    """An output that a request wants.

    Attributes:
        name: The output.
        is_binary: Whether its values follow the JSON as bytes.
        classes: Number of best classes to return instead of the values; 0 for the values.
        is_base64: Whether its strings are written as base64.
    """

    name: str
    is_binary: bool
    classes: int = 0
    is_base64: bool = False


@dataclass(frozen=True)
class InferRequest:
    """An infer request whose values are still JSON or bytes.

    Attributes:
        id: The client's, or a new one.
        signature: The signature.
        tensors: The value of ``inputs``.
        blobs: The bytes after the JSON.
        outputs: The outputs to return, in this order.
        parameters: The parameters of the request.
        content_type: MLServer's content type of the request, if any.
    """

    id: str
    signature: Signature
    tensors: Any
    blobs: memoryview
    outputs: tuple[WantedOutput, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    content_type: str = ""
    is_exact = False

    @property
    def rows(self) -> int:
        """The number of rows in its shape, but at most the number of values: a shape alone must not fill the queue."""
        try:
            rows, data = self.tensors[0]["shape"][0], self.tensors[0].get("data", self.blobs)
            return max(1, min(rows, len(data))) if type(rows) is int else 1
        except (TypeError, KeyError, IndexError, AttributeError):
            return 1

    def read(self) -> list[NamedTensor]:
        """The tensors. Their values are flat JSON values or bytes, not decoded yet.

        Raises:
            InvalidRequest: An input does not fit; the message says what was expected and what was found.
        """
        return read_tensors(self.tensors, self.blobs, self.signature, self.content_type)

    def columns(self) -> dict[str, Sequence[Any]] | None:
        """The values by input, all of the same length; None if anything is unusual, which `inputs` then reports."""
        infos, tensors = self.signature.inputs, self.tensors
        if type(tensors) is not list or len(tensors) != len(infos) or len(self.blobs) or self.content_type:
            return None
        columns: dict[str, Sequence[Any]] = {}
        try:
            rows = tensors[0]["shape"][0]
            for tensor in tensors:
                name, data, shape = tensor["name"], tensor["data"], tensor["shape"]
                usual = tensor["datatype"] == infos[name].datatype and type(data) is list and len(data) == rows
                # Check the type, too: true and 1.0 are equal to 1, but are not sizes.
                if not usual or shape != [rows] or type(shape[0]) is not int or "parameters" in tensor:
                    return None
                columns[name] = data
        except (KeyError, TypeError, IndexError):
            return None
        return columns if len(columns) == len(infos) else None

    def inputs(self) -> dict[str, Array]:
        """One tensor per input.

        Raises:
            InvalidRequest: An input does not fit; the message says what was expected and what was found.
        """
        return decode_tensors(self.read())


def decode_infer(body: bytes, header_length: int | None, signatures: Mapping[str, Signature]) -> InferRequest:
    """Read an infer request without decoding its values.

    Args:
        body: JSON, followed by the bytes of binary tensors.
        header_length: Number of bytes of JSON; None if all are.
        signatures: Of the model; the parameter ``signature_name`` chooses one.

    Raises:
        InvalidRequest: It is not JSON, or wants outputs that the model does not have.
        UnknownSignature: The model has no such signature.
    """
    if header_length is not None and not 0 < header_length <= len(body):
        raise InvalidRequest(f"Inference-Header-Content-Length is {header_length} for a body of {len(body)} bytes")
    whole = memoryview(body)
    document = parse_json(whole[:header_length], ignore_rest=False)
    if not isinstance(document, dict):
        raise InvalidRequest(f"expected an object with 'inputs', found {describe(document)}")
    parameters = parameters_of(document, "the request")
    name = parameters.get("signature_name")
    if name is not None and not isinstance(name, str):
        raise InvalidRequest(f"parameters: signature_name is not a string: {describe(name)}")
    signature = default_signature(signatures) if name is None else find_signature(signatures, name)
    identity = document.get("id") or ""
    if not isinstance(identity, str):
        raise InvalidRequest(f"id: expected a string, found {describe(identity)}")
    blobs = whole[len(body) if header_length is None else header_length :]
    outputs = _decode_outputs(
        document.get("outputs"), signature, is_binary=parameters.get("binary_data_output") is True
    )
    content_type = content_type_of(parameters, "the request")
    return InferRequest(
        identity or new_id(), signature, document.get("inputs"), blobs, outputs, parameters, content_type
    )


@lru_cache
def _all_outputs(names: tuple[str, ...], is_binary: bool) -> tuple[WantedOutput, ...]:
    return tuple(WantedOutput(name, is_binary) for name in names)


def _decode_outputs(listed: Any, signature: Signature, *, is_binary: bool) -> tuple[WantedOutput, ...]:
    if listed is None or listed == []:
        return _all_outputs(tuple(signature.outputs), is_binary)
    if not isinstance(listed, list):
        raise InvalidRequest(f"outputs: expected a list, found {describe(listed)}")
    wanted, content_types = [], []
    for number, output in enumerate(listed):
        if not isinstance(output, dict) or not isinstance(output.get("name"), str):
            raise InvalidRequest(f"outputs[{number}]: expected an object with a name, found {describe(output)}")
        parameters = parameters_of(output, f"outputs[{number}]")
        content_type_of(parameters, f"outputs[{number}]")
        binary, classes = parameters.get("binary_data", is_binary), parameters.get("classification", 0)
        if type(binary) is not bool or type(classes) is not int or classes < 0:
            raise InvalidRequest(f"outputs[{number}]: binary_data is true or false, classification a number of classes")
        content_types.append(content_type_of(parameters, f"outputs[{number}]"))
        wanted.append(WantedOutput(output["name"], binary, classes, content_types[-1] == BASE64))
    signature.wanted([output.name for output in wanted])
    for output, content_type in zip(wanted, content_types, strict=True):
        _check_output(output, content_type, signature.outputs[output.name])
    return tuple(wanted)


def _check_output(wanted: WantedOutput, content_type: str, info: TensorInfo) -> None:
    is_text = info.dtype == "string" and not wanted.classes
    if content_type == DATETIME or (content_type in (BASE64, TEXT) and not is_text):
        raise InvalidRequest(f"output '{info.name}' of datatype {info.datatype} has no content_type {content_type}")
    if wanted.is_base64 and wanted.is_binary:
        raise InvalidRequest(f"output '{info.name}': base64 is for JSON; binary data has the bytes themselves")


def encode_infer(
    request: InferRequest,
    model: tuple[str, int],
    outputs: Mapping[str, Array],
    labels: Sequence[str] = (),
    row_errors: Sequence[dict[str, Any]] | None = None,
) -> tuple[bytes, int | None]:
    """Write an infer response.

    Args:
        request: The request.
        model: The name and the version of the model.
        outputs: The outputs of the model.
        labels: The class labels, for outputs with `classes`.
        row_errors: The errors of bad rows, if the request wants them. The output `row_ok` is then there, too.

    Returns:
        The body, and the number of bytes of its JSON if binary tensors follow.

    Raises:
        InvalidRequest: JSON has no form for an output.
    """
    listed, blobs = [], []
    is_binary = any(wanted.is_binary for wanted in request.outputs)
    extra = () if row_errors is None else (WantedOutput(ROW_OK, is_binary),)
    for wanted in (*request.outputs, *extra):
        values = outputs[wanted.name]
        if wanted.classes:
            values = best_classes(wanted.name, values, wanted.classes, labels)
        tensor: dict[str, Any] = {
            "name": wanted.name,
            "shape": list(values.shape),
            "datatype": datatype_of(dtype_of(values)),
        }
        if wanted.is_binary:
            blobs.append(encode_binary(values))
            tensor["parameters"] = {"binary_data_size": len(blobs[-1])}
        elif wanted.is_base64:
            tensor["parameters"] = {PARAMETER: BASE64}
            tensor["data"] = [base64.b64encode(value).decode() for value in values.ravel()]
        else:
            tensor["data"] = encode_json(wanted.name, values)
        listed.append(tensor)
    name, version = model
    answer = {"model_name": name, "model_version": str(version), "id": request.id, "outputs": listed}
    if row_errors is not None:
        answer["row_errors"] = list(row_errors)
    header = dump_json(answer)
    return b"".join([header, *blobs]), len(header) if blobs else None


def best_classes(name: str, values: Array, count: int, labels: Sequence[str]) -> Array:
    """The best classes of each row, as Triton writes them: ``score:index:label``, best first.

    Raises:
        InvalidRequest: The output is not one row of scores per row.
    """
    if values.dtype.kind != "f" or values.ndim not in (1, 2):
        raise InvalidRequest(
            f"output '{name}': classification needs one row of scores per row, not shape {list(values.shape)}"
        )
    # A single probability is that of the second of two classes.
    scores = np.stack([1 - values, values], axis=1) if values.ndim == 1 else values
    order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    named = labels if len(labels) == scores.shape[1] else ()
    texts = [
        [f"{row[i]:f}:{i}" + (f":{named[i]}" if named else "") for i in best]
        for row, best in zip(scores, order.tolist(), strict=True)
    ]
    return np.array([[text.encode() for text in row] for row in texts], dtype=object).reshape(order.shape)
