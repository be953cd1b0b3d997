"""What WebHDFS and the way to it may say, in the project's words.

StorageError
└── Interrupted        the way to the cluster broke: worth another try at once
"""

import errno
import os
import re
from typing import Final

import requests
from hdfs import HdfsError

from millrace.errors import ConfigError, InputMissing, MillraceError, Refused, StorageError, shorten

RIGHTS: Final = "give this user rights to it, or name another one in transfer.user"
_CREDENTIALS: Final = ("AuthenticationException", "InvalidToken", "SecretManager", "SecurityException")
_NAMES: Final = ("InvalidPathException", "IllegalArgumentException", "HadoopIllegalArgumentException")
_FULL: Final = ("QuotaExceededException", "DSQuotaExceededException", "NSQuotaExceededException")


class Interrupted(StorageError):
    """A connection broke, or bytes came or went wrong: the same request may succeed the next time."""


def translated(error: Exception, address: str, user: str, path: str) -> MillraceError:
    """The error that tells in one line what went wrong, where, and for whom.

    Nothing of a request's own address goes into it: that holds the delegation token.
    """
    where = f"{address}: {shorten(repr(path))} as {user}"
    if isinstance(error, HdfsError):
        return _from_hadoop(error, where)
    if isinstance(error, requests.exceptions.JSONDecodeError):
        return _from_hadoop(HdfsError("an answer that is not JSON"), where)
    if isinstance(error, requests.exceptions.SSLError):
        return ConfigError(
            f"{where}: no secure connection: {_reason(error)}",
            hint="https only where the server speaks it; transfer.ca_bundle names the authority that signed for it",
        )
    if isinstance(error, requests.exceptions.MissingSchema | requests.exceptions.InvalidSchema | ValueError):
        return ConfigError(f"{address} is no address of a WebHDFS", hint="write it as http://namenode:9870")
    if isinstance(error, requests.exceptions.Timeout):
        return Interrupted(f"{where}: no answer in time", hint="is the cluster up, and can it be reached from here?")
    return Interrupted(f"{where}: {_reason(error)}", hint="is the NameNode up, and is this its address?")


def _from_hadoop(error: HdfsError, where: str) -> MillraceError:
    kind = str(error.exception or "")
    # Where it is not Hadoop that answers, HdfsCLI quotes the bytes of a whole page.
    said = shorten(
        " ".join(re.sub(r"^b['\"]|<[^>]*>|\\[rn]|['\"]$", " ", (f"{error}" or kind).splitlines()[0]).split())
    )
    if "Authentication failure" in said or any(name in f"{kind} {said}" for name in _CREDENTIALS):
        return ConfigError(f"{where}: not let in: {said}", hint="see transfer.auth; tickets and tokens run out")
    answers = {
        "FileNotFoundException": InputMissing(f"{where}: {said}"),
        "FileAlreadyExistsException": Refused(f"{where} is there already"),
        "AccessControlException": ConfigError(f"{where}: {said}", hint=RIGHTS),
        **dict.fromkeys(_NAMES, ConfigError(f"{where}: {said}", hint="HDFS takes no ':' and no '//' in a name")),
        **dict.fromkeys(_FULL, StorageError(f"{where}: {said}", hint="raise the quota or remove something")),
        "SafeModeException": StorageError(f"{where}: {said}", hint="the NameNode starts, or lacks blocks: wait"),
        "ParentNotDirectoryException": ConfigError(f"{where}: {said}", hint="a file stands where a folder must be"),
    }
    if kind in answers:
        return answers[kind]
    if kind in ("RetriableException", "StandbyException"):
        if "safe mode" in str(error):
            return StorageError(f"{where}: {said}", hint="the NameNode starts, or lacks blocks: wait")
        return Interrupted(f"{where}: {said}", hint="no NameNode is active: wait")
    if not kind:
        return ConfigError(f"{where}: what answers there is no WebHDFS: {said}", hint="its port is 9870 or 9871")
    return StorageError(f"{where}: {kind}: {said}")


def _reason(error: BaseException) -> str:
    """The innermost cause, which alone says something, and quotes no request."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = getattr(error, "reason", None) or error.__cause__ or error.__context__
        inner = inner or next((each for each in error.args if isinstance(each, BaseException)), None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    if isinstance(error, OSError) and error.errno is not None:
        return error.strerror or os.strerror(error.errno if error.errno in errno.errorcode else errno.EIO)
    return type(error).__name__
