"""The Open Inference Protocol, version 2: infer with JSON and binary tensors.

Sources: KServe's ``docs/predict-api/v2/required_api.md``; Triton's ``docs/protocol`` for binary tensors and
classification.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pipelines.config.dotted import suggestion
from serve.errors import BadValue, InvalidRequest
from serve.protocols.document import MAX_SHOWN, describe, dump_json, parse_json
from serve.protocols.tensors import (
    DATATYPES,
    datatype_of,
    decode_binary,
    decode_json,
    dtype_of,
    encode_binary,
    encode_json,
)
from serve.protocols.values import Array
from serve.signatures import SERVING_DEFAULT, Signature, TensorInfo, find_signature

LENGTH_HEADER: Final = "inference-header-content-length"
EXTENSIONS: Final = (
    "binary_tensor_data",
    "binary_data",
    "classification",
    "model_configuration",
    "model_repository",
    "model_repository_extension",
    "statistics",
)
"""As Triton and as KServe spell them."""
SHARED_MEMORY: Final = "shared_memory_region"


@dataclass(frozen=True)
class WantedOutput:
    """An output that a request asks for.

    Attributes:
        name: The output.
        is_binary: Whether its values follow the JSON as bytes.
        classes: How many of the best classes to answer instead of the values; 0 for the values.
    """

    name: str
    is_binary: bool
    classes: int = 0


@dataclass(frozen=True)
class InferRequest:
    """An infer request whose values are still JSON or bytes.

    Attributes:
        id: The client's, or a new one.
        signature: What is asked.
        tensors: What stands under ``inputs``.
        blobs: The bytes behind the JSON.
        outputs: What is answered, in this order.
    """

    id: str
    signature: Signature
    tensors: Any
    blobs: memoryview
    outputs: tuple[WantedOutput, ...]

    def columns(self) -> dict[str, list[Any]] | None:
        """The values by input, all of as many rows; None if anything is unusual, and `inputs` shall say what."""
        infos, tensors = self.signature.inputs, self.tensors
        if type(tensors) is not list or len(tensors) != len(infos) or len(self.blobs):
            return None
        columns: dict[str, list[Any]] = {}
        shape: Any = None
        for tensor in tensors:
            try:
                name, data = tensor["name"], tensor["data"]
                shape = tensor["shape"] if shape is None else shape
                usual = tensor["datatype"] == DATATYPES[infos[name].dtype] and tensor["shape"] == shape == [len(data)]
            except (KeyError, TypeError):
                return None
            if not usual or type(data) is not list or "parameters" in tensor:
                return None
            columns[name] = data
        return columns if len(columns) == len(infos) else None

    def inputs(self) -> dict[str, Array]:
        """One tensor per input.

        Raises:
            InvalidRequest: Says which input does not fit, what was expected and what came.
        """
        return _decode_inputs(self.tensors, self.blobs, self.signature)


def decode_infer(body: bytes, header_length: int | None, signatures: Mapping[str, Signature]) -> InferRequest:
    """Read an infer request, all but its values.

    Args:
        body: JSON, with the bytes of binary tensors after it.
        header_length: How many bytes of it are JSON; None if all are.
        signatures: Of the model; the parameter ``signature_name`` chooses one.

    Raises:
        InvalidRequest: It is no JSON, or asks for outputs that the model does not have.
        UnknownSignature: The model has no such signature.
    """
    if header_length is not None and not 0 < header_length <= len(body):
        raise InvalidRequest(f"Inference-Header-Content-Length is {header_length} for a body of {len(body)} bytes")
    whole = memoryview(body)
    document = parse_json(whole[:header_length], ignore_rest=False)
    if not isinstance(document, dict):
        raise InvalidRequest(f"expected an object with 'inputs', found {describe(document)}")
    parameters = _parameters(document, "the request")
    name = parameters.get("signature_name", SERVING_DEFAULT)
    if not isinstance(name, str):
        raise InvalidRequest(f"parameters: signature_name is no string: {describe(name)}")
    signature = find_signature(signatures, name)
    identity = document.get("id", "")
    if not isinstance(identity, str):
        raise InvalidRequest(f"id: expected a string, found {describe(identity)}")
    blobs = whole[len(body) if header_length is None else header_length :]
    outputs = _decode_outputs(
        document.get("outputs"), signature, is_binary=parameters.get("binary_data_output") is True
    )
    return InferRequest(identity or str(uuid.uuid4()), signature, document.get("inputs"), blobs, outputs)


def _parameters(value: dict[str, Any], where: str) -> dict[str, Any]:
    parameters = value.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise InvalidRequest(f"{where}: parameters: expected an object, found {describe(parameters)}")
    if SHARED_MEMORY in parameters:
        raise InvalidRequest(f"{where}: shared memory is not offered")
    return parameters


def _decode_inputs(listed: Any, blobs: memoryview, signature: Signature) -> dict[str, Array]:
    if not isinstance(listed, list):
        raise InvalidRequest(f"inputs: expected a list of tensors, found {describe(listed)}")
    decoded: dict[str, Array] = {}
    problems: list[str] = []
    position = 0
    for number, tensor in enumerate(listed):
        name, info = _named(number, tensor, signature, decoded)
        size = _parameters(tensor, f"input '{name}'").get("binary_data_size")
        if size is not None and (type(size) is not int or not 0 <= size <= len(blobs) - position):
            raise InvalidRequest(
                f"input '{name}': binary_data_size is {describe(size)}, "
                f"and {len(blobs) - position} bytes are left after the JSON"
            )
        blob = None if size is None else blobs[position : position + size]
        position += size or 0
        try:
            decoded[name] = _decode_tensor(tensor, blob, info)
        except BadValue as error:
            problems.append(f"input '{name}', value {error.position}: {error.reason}")
        except InvalidRequest as error:
            problems.append(f"input '{name}': {error}")
    if problems:
        raise InvalidRequest(problems)
    missing = [f"'{n}' ({DATATYPES.get(i.dtype, i.dtype)})" for n, i in signature.inputs.items() if n not in decoded]
    if missing:
        raise InvalidRequest(
            f"expected {len(signature.inputs)} inputs, found {len(decoded)}: missing {', '.join(missing)}"
        )
    if position != len(blobs):
        raise InvalidRequest(
            f"{len(blobs) - position} bytes after the JSON belong to no input: no binary_data_size names them"
        )
    return decoded


def _named(number: int, tensor: Any, signature: Signature, seen: Mapping[str, Array]) -> tuple[str, TensorInfo]:
    if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
        raise InvalidRequest(f"inputs[{number}]: expected an object with a name, found {describe(tensor)}")
    name = tensor["name"]
    if name not in signature.inputs:
        near = suggestion(name[:MAX_SHOWN], list(signature.inputs))
        raise InvalidRequest(f"inputs[{number}]: the model has no input {describe(name)}; {near}")
    if name in seen:
        raise InvalidRequest(f"inputs[{number}]: input '{name}' is there twice")
    return name, signature.inputs[name]


def _decode_tensor(tensor: dict[str, Any], blob: memoryview | None, info: TensorInfo) -> Array:
    expected, found = datatype_of(info.dtype), tensor.get("datatype")
    if found != expected:
        raise InvalidRequest(f"expected datatype {expected}, found {describe(found)}")
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int and 0 <= size < 2**31 for size in shape):
        raise InvalidRequest(f"shape: expected a list of sizes, found {describe(shape)}")
    if not info.takes(tuple(shape)):
        raise InvalidRequest(f"expected shape {list(info.shape or ())}, found {describe(shape)}")
    if blob is not None:
        if "data" in tensor:
            raise InvalidRequest("has both data and binary_data_size")
        return decode_binary(blob, tuple(shape), info)
    if "data" not in tensor:
        raise InvalidRequest("has neither data nor the parameter binary_data_size")
    return decode_json(tensor["data"], tuple(shape), info)


def _decode_outputs(listed: Any, signature: Signature, *, is_binary: bool) -> tuple[WantedOutput, ...]:
    if listed is None or listed == []:
        return tuple(WantedOutput(name, is_binary) for name in signature.outputs)
    if not isinstance(listed, list):
        raise InvalidRequest(f"outputs: expected a list, found {describe(listed)}")
    wanted = []
    for number, output in enumerate(listed):
        if not isinstance(output, dict) or not isinstance(output.get("name"), str):
            raise InvalidRequest(f"outputs[{number}]: expected an object with a name, found {describe(output)}")
        parameters = _parameters(output, f"outputs[{number}]")
        binary, classes = parameters.get("binary_data", is_binary), parameters.get("classification", 0)
        if type(binary) is not bool or type(classes) is not int or classes < 0:
            raise InvalidRequest(f"outputs[{number}]: binary_data is true or false, classification a number of classes")
        wanted.append(WantedOutput(output["name"], binary, classes))
    signature.wanted([output.name for output in wanted])
    return tuple(wanted)


def encode_infer(
    request: InferRequest, model: str, version: int, outputs: Mapping[str, Array], labels: Sequence[str] = ()
) -> tuple[bytes, int | None]:
    """Write an infer response.

    Args:
        request: What it answers.
        model: The model's name.
        version: The version that answered.
        outputs: What it answered.
        labels: Names of the classes, for outputs whose best classes are asked for.

    Returns:
        The body, and how many bytes of it are JSON if binary tensors follow.

    Raises:
        InvalidRequest: JSON has no form for an output.
    """
    listed, blobs = [], []
    for wanted in request.outputs:
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
        else:
            tensor["data"] = encode_json(wanted.name, values)
        listed.append(tensor)
    answer = {"model_name": model, "model_version": str(version), "id": request.id, "outputs": listed}
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
