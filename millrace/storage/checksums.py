"""Computes digests of files on any file system, and caches them until a file changes."""

import hashlib
from typing import Final

from millrace.retry import NO_RETRY, RetryPolicy
from millrace.storage.store import files_of, open_input

_CHUNK_BYTES: Final = 1 << 20
MAX_CACHED: Final = 100_000
_digests: dict[tuple[str, tuple[int, int, int]], str] = {}
"""Digests by path and stamp: a file that changed has another stamp. Two threads may both compute a digest."""


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
    key = path, files_of(path, retry).entry(path).stamp
    digest = _digests.get(key)
    if digest is None:
        digest = digest_at(path, retry)
        if len(_digests) >= MAX_CACHED:
            _digests.clear()
        _digests[key] = digest
    return digest == sha256
