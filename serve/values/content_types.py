"""MLServer's content types: how a client has encoded the values of a tensor.

A content type that would change the values is either applied or refused; it is never ignored. Source: MLServer's
``docs/user-guide/content-type.md`` and its codecs.
"""

from collections.abc import Mapping
from typing import Any, Final

from serve.errors import InvalidRequest
from serve.servables.signatures import TensorInfo
from serve.values.document import describe

PARAMETER: Final = "content_type"
BASE64: Final = "base64"
DATETIME: Final = "datetime"
TEXT: Final = "str"
PLAIN: Final = frozenset({"np", "pd", "dict"})
"""They choose a class of Python; the values are plain."""
_KNOWN: Final = PLAIN | {BASE64, DATETIME, TEXT}


def content_type_of(parameters: Mapping[str, Any], where: str) -> str:
    """The content type that parameters name; empty if they name none.

    Raises:
        InvalidRequest: It is unknown.
    """
    found = parameters.get(PARAMETER)
    if found is None or found == "":
        return ""
    if not isinstance(found, str) or found not in _KNOWN:
        known = ", ".join(sorted(_KNOWN))
        raise InvalidRequest(f"{where}: content_type {describe(found)} is not supported; supported are {known}")
    return found


def is_encoded(content_type: str, info: TensorInfo) -> bool:
    """Whether the values of an input are base64.

    Args:
        content_type: The input's own content type.
        info: The input.

    Raises:
        InvalidRequest: The input cannot have values of this content type.
    """
    is_text = info.dtype == "string"
    is_time = info.feature is not None and info.feature.dtype == "timestamp"
    if content_type in (BASE64, TEXT) and not is_text:
        raise InvalidRequest(f"content_type {content_type} is for datatype BYTES, and this is {info.datatype}")
    if content_type == DATETIME and not (is_text or is_time):
        raise InvalidRequest("content_type datetime is for timestamps and for datatype BYTES")
    return content_type == BASE64


def is_time_as_text(content_type: str, info: TensorInfo, datatype: Any) -> bool:
    """Whether a timestamp is sent as MLServer's clients do: ISO 8601 in BYTES, though the input is INT64."""
    return content_type == DATETIME and datatype == "BYTES" and info.feature is not None
