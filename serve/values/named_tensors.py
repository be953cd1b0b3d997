"""The tensors of an infer request: input, shape, and values in the JSON or in the bytes after it."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from millrace.dotted import suggestion
from serve.errors import BadValue, InvalidRequest
from serve.servables.signatures import Signature, TensorInfo
from serve.values.arrays import Array, decode_values
from serve.values.content_types import content_type_of, is_encoded, is_time_as_text
from serve.values.document import MAX_SHOWN, describe
from serve.values.tensors import datatype_of, decode_binary, flat_values

SHARED_MEMORY: Final = "shared_memory_region"
MAX_SIZE: Final = 2**31
"""Upper limit of a dimension, not included."""
MAX_EMPTY: Final = 65_536
"""Upper limit of a dimension of an empty tensor: a few bytes must not count as millions of rows."""


@dataclass(frozen=True)
class NamedTensor:
    """One tensor of a request.

    Attributes:
        name: The input.
        info: The input's dtype and shape.
        shape: The client's shape; it fits the input.
        values: Flat JSON values, as many as the shape says; or bytes.
        is_base64: Whether the strings in these bytes are base64.
    """

    name: str
    info: TensorInfo
    shape: tuple[int, ...]
    values: list[Any] | memoryview
    is_base64: bool = False

    def decode(self) -> Array:
        """Decode the tensor.

        Raises:
            BadValue: A value has another dtype.
            InvalidRequest: The bytes do not fit the shape and dtype.
        """
        try:
            if isinstance(self.values, memoryview):
                decoded = decode_binary(self.values, self.shape, self.info)
                return _from_base64(decoded) if self.is_base64 else decoded
            return decode_values(self.values, self.info, exact=False).reshape(self.shape)
        except ValueError as error:  # numpy has tensors of at most 64 dimensions, and of a certain size
            raise InvalidRequest(f"shape: {str(error)[:200]}") from error


def parameters_of(value: dict[str, Any], where: str) -> dict[str, Any]:
    """The parameters of a request, an input or an output.

    Raises:
        InvalidRequest: They are not an object, or contain an unsupported parameter.
    """
    parameters = value.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise InvalidRequest(f"{where}: parameters: expected an object, found {describe(parameters)}")
    if SHARED_MEMORY in parameters:
        raise InvalidRequest(f"{where}: shared memory is not supported")
    return parameters


def _from_base64(texts: Array) -> Array:
    decoded = np.empty(texts.size, object)
    for number, text in enumerate(texts.ravel()):
        try:
            decoded[number] = base64.b64decode(text, validate=True)
        except ValueError:
            raise InvalidRequest(f"value {number}: Unable to base64 decode") from None
    return decoded.reshape(texts.shape)


def read_tensors(listed: Any, blobs: memoryview, signature: Signature, content_type: str = "") -> list[NamedTensor]:
    """Read the tensors of a request without decoding their values.

    Args:
        listed: The value of ``inputs``.
        blobs: The bytes after the JSON, in the order of the list.
        signature: The signature.
        content_type: Of the whole request. ``base64`` is that of each string input that has none of its own.

    Raises:
        InvalidRequest: An input does not fit; the message says what was expected and what was found.
    """
    if not isinstance(listed, list):
        raise InvalidRequest(f"inputs: expected a list of tensors, found {describe(listed)}")
    read: dict[str, NamedTensor] = {}
    problems: dict[str, str] = {}
    position = 0
    for number, tensor in enumerate(listed):
        name, info = _named(number, tensor, signature, read.keys() | problems.keys())
        parameters = parameters_of(tensor, f"input '{name}'")
        size = parameters.get("binary_data_size")
        if size is not None and (type(size) is not int or not 0 <= size <= len(blobs) - position):
            raise InvalidRequest(
                f"input '{name}': binary_data_size is {describe(size)}, "
                f"and {len(blobs) - position} bytes are left after the JSON"
            )
        blob = None if size is None else blobs[position : position + size]
        position += size or 0
        try:
            own = content_type_of(parameters, "parameters") or (content_type if info.dtype == "string" else "")
            read[name] = _read_tensor(name, tensor, blob, info, own)
        except InvalidRequest as error:
            problems[name] = f"input '{name}': {error}"
    if problems:
        raise InvalidRequest(list(problems.values()))
    missing = [f"'{n}' ({i.datatype})" for n, i in signature.inputs.items() if n not in read]
    if missing:
        raise InvalidRequest(
            f"expected {len(signature.inputs)} inputs, found {len(read)}: missing {', '.join(missing)}"
        )
    if position != len(blobs):
        raise InvalidRequest(
            f"{len(blobs) - position} bytes after the JSON belong to no input: no binary_data_size names them"
        )
    return list(read.values())


def decode_tensors(read: Sequence[NamedTensor]) -> dict[str, Array]:
    """One array per input.

    Raises:
        InvalidRequest: A value has another dtype; the message names the input.
    """
    decoded: dict[str, Array] = {}
    problems: list[str] = []
    for tensor in read:
        try:
            decoded[tensor.name] = tensor.decode()
        except BadValue as error:
            problems.append(f"input '{tensor.name}', value {error.position}: {error.reason}")
        except InvalidRequest as error:
            problems.append(f"input '{tensor.name}': {error}")
    if problems:
        raise InvalidRequest(problems)
    return decoded


def _named(number: int, tensor: Any, signature: Signature, seen: set[str]) -> tuple[str, TensorInfo]:
    if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
        raise InvalidRequest(f"inputs[{number}]: expected an object with a name, found {describe(tensor)}")
    name = tensor["name"]
    if name not in signature.inputs:
        near = suggestion(name[:MAX_SHOWN], list(signature.inputs))
        raise InvalidRequest(f"inputs[{number}]: the model has no input {describe(name)}; {near}")
    if name in seen:
        raise InvalidRequest(f"inputs[{number}]: input '{name}' is there twice")
    return name, signature.inputs[name]


def _read_tensor(
    name: str, tensor: Mapping[str, Any], blob: memoryview | None, info: TensorInfo, content_type: str
) -> NamedTensor:
    encoded = is_encoded(content_type, info)
    expected, found = datatype_of(info.dtype), tensor.get("datatype")
    if found != expected and not (blob is None and is_time_as_text(content_type, info, found)):
        raise InvalidRequest(f"expected datatype {expected}, found {describe(found)}")
    listed = tensor.get("shape")
    if not isinstance(listed, list) or not all(type(size) is int and 0 <= size < MAX_SIZE for size in listed):
        raise InvalidRequest(f"shape: expected a list of sizes, found {describe(listed)}")
    sent = tuple(listed)
    # MLServer's clients send a column of a table as [n, 1].
    shape = sent[:1] if info.shape == (-1,) and sent[1:] == (1,) else sent
    if not info.takes(shape):
        raise InvalidRequest(f"expected shape {list(info.shape or ())}, found {describe(listed)}")
    if 0 in shape and max(shape) > MAX_EMPTY:
        raise InvalidRequest(f"shape: nothing in it, and a size of more than {MAX_EMPTY}: {describe(listed)}")
    if blob is None and "data" not in tensor:
        raise InvalidRequest("has neither data nor the parameter binary_data_size")
    if blob is not None and "data" in tensor:
        raise InvalidRequest("has both data and binary_data_size")
    if blob is not None:
        return NamedTensor(name, info, shape, blob, encoded)
    values = flat_values(tensor["data"], sent, info)
    if encoded:
        values = [{"b64": value} if type(value) is str else value for value in values]
    return NamedTensor(name, info, shape, values)
