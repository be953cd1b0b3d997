"""Digests of files wherever they lie, taken once for as long as nobody writes to them."""

import functools
import hashlib
from typing import Final

from millrace.retry import NO_RETRY, RetryPolicy
from millrace.storage.store import files_of, open_input

_CHUNK_BYTES: Final = 1 << 20


def digest_at(path: str, retry: RetryPolicy = NO_RETRY) -> str:
    """SHA-256 of a file's bytes, as lower-case hex.

    Raises:
        OSError: As the file system says.
    """
    digest = hashlib.sha256()
    with open_input(path, retry) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def has_digest(path: str, sha256: str, retry: RetryPolicy = NO_RETRY) -> bool:
    """Whether a file holds the bytes that it should; asked again, it is not read again, unless somebody wrote to it.

    Raises:
        OSError: As the file system says.
    """
    return _digest_of(path, files_of(path, retry).entry(path).stamp, retry) == sha256


@functools.lru_cache(maxsize=100_000)
def _digest_of(path: str, stamp: tuple[int, int, int], retry: RetryPolicy) -> str:
    return digest_at(path, retry)
