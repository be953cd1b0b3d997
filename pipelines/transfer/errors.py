"""Translates the errors of WebHDFS and of the connection to it.

StorageError
└── Interrupted        the connection to the cluster broke: retry at once
"""

import errno
import os
import re
from typing import Final

import requests
from hdfs import HdfsError

from millrace.errors import ConfigError, InputMissing, MillraceError, Refused, StorageError, shorten

RIGHTS: Final = "give this user permission, or set another one in transfer.user"
_CREDENTIALS: Final = ("AuthenticationException", "InvalidToken", "SecretManager", "SecurityException")
_NAMES: Final = ("InvalidPathException", "IllegalArgumentException", "HadoopIllegalArgumentException")
_FULL: Final = ("QuotaExceededException", "DSQuotaExceededException", "NSQuotaExceededException")


class Interrupted(StorageError):
    """A connection broke, or bytes arrived damaged: the same request may succeed the next time."""


def translated(error: Exception, address: str, user: str, path: str) -> MillraceError:
    """Return an error that says in one line what went wrong, where, and for which user.

    It never quotes the URL of a request, which contains the delegation token.
    """
    where = f"{address}: {shorten(repr(path))} as {user}"
    if isinstance(error, HdfsError):
        return _from_hadoop(error, where)
    if isinstance(error, requests.exceptions.JSONDecodeError):
        return _from_hadoop(HdfsError("the response is not JSON"), where)
    if isinstance(error, requests.exceptions.SSLError):
        return ConfigError(
            f"{where}: no secure connection: {_reason(error)}",
            hint="does the server support https? Set transfer.ca_bundle to the authority that signed its certificate",
        )
    if isinstance(error, requests.exceptions.MissingSchema | requests.exceptions.InvalidSchema | ValueError):
        return ConfigError(f"{address} is not an address of WebHDFS", hint="write it as http://namenode:9870")
    if isinstance(error, requests.exceptions.Timeout):
        return Interrupted(
            f"{where}: no response in time", hint="is the cluster running, and can this machine reach it?"
        )
    return Interrupted(f"{where}: {_reason(error)}", hint="is the NameNode running, and is this its address?")


def _from_hadoop(error: HdfsError, where: str) -> MillraceError:
    kind = str(error.exception or "")
    # If the server is not Hadoop, HdfsCLI quotes the bytes of a whole page.
    text = shorten(
        " ".join(re.sub(r"^b['\"]|<[^>]*>|\\[rn]|['\"]$", " ", (f"{error}" or kind).splitlines()[0]).split())
    )
    if "Authentication failure" in text or any(name in f"{kind} {text}" for name in _CREDENTIALS):
        return ConfigError(
            f"{where}: authentication failed: {text}", hint="check transfer.auth; tickets and tokens expire"
        )
    errors = {
        "FileNotFoundException": InputMissing(f"{where}: {text}"),
        "FileAlreadyExistsException": Refused(f"{where} exists already"),
        "AccessControlException": ConfigError(f"{where}: {text}", hint=RIGHTS),
        **dict.fromkeys(_NAMES, ConfigError(f"{where}: {text}", hint="HDFS allows no ':' and no '//' in a name")),
        **dict.fromkeys(_FULL, StorageError(f"{where}: {text}", hint="raise the quota or remove something")),
        "SafeModeException": StorageError(f"{where}: {text}", hint="the NameNode is starting, or lacks blocks: wait"),
        "ParentNotDirectoryException": ConfigError(f"{where}: {text}", hint="there is a file where a folder is needed"),
    }
    if kind in errors:
        return errors[kind]
    if kind in ("RetriableException", "StandbyException"):
        if "safe mode" in str(error):
            return StorageError(f"{where}: {text}", hint="the NameNode is starting, or lacks blocks: wait")
        return Interrupted(f"{where}: {text}", hint="no NameNode is active: wait")
    if not kind:
        return ConfigError(
            f"{where}: the server is not WebHDFS: {text}", hint="the port is usually 9870, or 9871 for https"
        )
    return StorageError(f"{where}: {kind}: {text}")


def _reason(error: BaseException) -> str:
    """Describe the innermost cause, which is the informative one and quotes no URL."""
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
