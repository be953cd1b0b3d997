"""Translates Hadoop's exceptions into the `OSError` that a local file system would raise."""

import errno
import re
from typing import Final

from millrace.storage.filesystems.files import is_of_storage

_NUMBERS: Final = {
    "AccessControlException": errno.EACCES,
    "SafeModeException": errno.EAGAIN,
    "DSQuotaExceededException": errno.EDQUOT,
    "NSQuotaExceededException": errno.EDQUOT,
    "QuotaExceededException": errno.EDQUOT,
    "StandbyException": errno.EAGAIN,
    "BlockMissingException": errno.EIO,
    "PathIsNotEmptyDirectoryException": errno.ENOTEMPTY,
}
"""Error number by the class name of Hadoop's exception."""
_TEMPORARY: Final = {
    "refused": errno.ECONNREFUSED,
    "Connection reset": errno.ECONNRESET,
    "Broken pipe": errno.EPIPE,
    "RPC listener": errno.ECONNRESET,
    "complete file in time": errno.ETIMEDOUT,
    "timed out": errno.ETIMEDOUT,
    "All DataNodes failed": errno.EAGAIN,
    "minReplication nodes": errno.EAGAIN,
}
"""Error number of a temporary error, by a part of the client's message."""
_EXCEPTION: Final = re.compile(r"\b(\w+(?:Exception|Error))\b")


def translated(error: RuntimeError | OSError, authority: str, path: str) -> OSError:
    """Return an `OSError` that says in one line what went wrong, and where."""
    text = str(error)
    if isinstance(error, OSError) and is_of_storage(error):
        return error if error.errno is not None else type(error)(_number_of(type(error)), _first_line(text), path)
    name = next((name for name in _EXCEPTION.findall(text) if name in _NUMBERS), None)
    message = _first_line(text)
    where = f"hdfs://{authority}"
    if name == "AccessControlException":
        return PermissionError(None, message, path)
    if name:
        return OSError(_NUMBERS[name], f"{where}: {message}")
    return OSError(temporary_number(text) or errno.EIO, f"{where}: {message}")


def temporary_number(text: str) -> int | None:
    """Return the error number of a temporary error; None for any other error."""
    if any(_NUMBERS.get(name) == errno.EAGAIN for name in _EXCEPTION.findall(text)):
        return errno.EAGAIN
    return next((number for mark, number in _TEMPORARY.items() if mark in text), None)


def _number_of(kind: type[OSError]) -> int:
    return {FileNotFoundError: errno.ENOENT, FileExistsError: errno.EEXIST}.get(kind, errno.EIO)


def _first_line(text: str) -> str:
    """Return Hadoop's message without its stack, from a text like ``RPCError("class", "message\\n\\tat ...")``."""
    found = re.search(r'^\w+\("[\w.$]+", "(.*)', text, re.DOTALL)
    message = (found[1] if found else text).replace('\\"', '"')
    message = re.split(r"\\n|\n", message, maxsplit=1)[0].strip().rstrip('")')
    return message.partition(": [DatanodeInfoProto")[0]  # the rest describes each DataNode in thousands of characters
