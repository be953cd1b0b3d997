"""Computes digests of files on any file system, and caches them until a file changes."""

import functools
import hashlib
from typing import Final

from millrace.retry import NO_RETRY, RetryPolicy
from millrace.storage.store import files_of, open_input

_CHUNK_BYTES: Final = 1 << 20


def digest_at(path: str, retry: RetryPolicy = NO_RETRY) -> str:
    """Return the SHA-256 of a file's bytes, as lower-case hex.

    Raises:
        OSError: The file cannot be read.
    """
    digest = hashlib.sha256()
    with open_input(path, retry) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def has_digest(path: str, sha256: str, retry: RetryPolicy = NO_RETRY) -> bool:
    """Whether a file has a digest. The digest is cached until the file changes.

    Raises:
        OSError: The file cannot be read.
    """
    return _digest_of(path, files_of(path, retry).entry(path).stamp, retry) == sha256


@functools.lru_cache(maxsize=100_000)
def _digest_of(path: str, stamp: tuple[int, int, int], retry: RetryPolicy) -> str:
    return digest_at(path, retry)
