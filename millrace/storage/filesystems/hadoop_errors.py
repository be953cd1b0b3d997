"""What Hadoop's exceptions mean: each becomes the `OSError` that a local file system would raise."""

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
"""What Hadoop's exceptions mean, by class name."""
_PASSING: Final = {
    "refused": errno.ECONNREFUSED,
    "Connection reset": errno.ECONNRESET,
    "Broken pipe": errno.EPIPE,
    "RPC listener": errno.ECONNRESET,
    "complete file in time": errno.ETIMEDOUT,
    "timed out": errno.ETIMEDOUT,
    "All DataNodes failed": errno.EAGAIN,
    "minReplication nodes": errno.EAGAIN,
}
"""What the client's own messages mean: errors that may go away by themselves."""
_EXCEPTION: Final = re.compile(r"\b(\w+(?:Exception|Error))\b")


def translated(error: RuntimeError | OSError, authority: str, path: str) -> OSError:
    """The `OSError` that says in one line what went wrong, and where."""
    text = str(error)
    if isinstance(error, OSError) and is_of_storage(error):
        return error if error.errno is not None else type(error)(_number_of(type(error)), _first_line(text), path)
    name = next((name for name in _EXCEPTION.findall(text) if name in _NUMBERS), None)
    said = _first_line(text)
    where = f"hdfs://{authority}"
    if name == "AccessControlException":
        return PermissionError(None, said, path)
    if name:
        return OSError(_NUMBERS[name], f"{where}: {said}")
    return OSError(passing_number(text) or errno.EIO, f"{where}: {said}")


def passing_number(text: str) -> int | None:
    """Number of an error that may go away by itself; None of any other."""
    if any(_NUMBERS.get(name) == errno.EAGAIN for name in _EXCEPTION.findall(text)):
        return errno.EAGAIN
    return next((number for mark, number in _PASSING.items() if mark in text), None)


def _number_of(kind: type[OSError]) -> int:
    return {FileNotFoundError: errno.ENOENT, FileExistsError: errno.EEXIST}.get(kind, errno.EIO)


def _first_line(text: str) -> str:
    """What Hadoop says, without its stack: ``RPCError("class", "message\\n\\tat ...")`` comes as one text."""
    found = re.search(r'^\w+\("[\w.$]+", "(.*)', text, re.DOTALL)
    said = (found[1] if found else text).replace('\\"', '"')
    said = re.split(r"\\n|\n", said, maxsplit=1)[0].strip().rstrip('")')
    return said.partition(": [DatanodeInfoProto")[0]  # all that is known of each, over thousands of characters
