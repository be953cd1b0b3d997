"""Errors of file systems become the project's, each with what to do about it."""

import errno

import pytest

from millrace.errors import ArtifactExists, ArtifactNotFound, ConfigError, MillraceError, StorageError
from millrace.storage import is_of_storage, mapped_errors

MAPPED = [
    (FileNotFoundError(errno.ENOENT, "gone"), ArtifactNotFound, "there is no file 'a/b' in the store"),
    (FileExistsError(errno.EEXIST, "there"), ArtifactExists, "file 'a/b' exists already"),
    (PermissionError(errno.EACCES, "denied", "a/b"), ConfigError, "no permission for a/b"),
    (PermissionError(errno.EPERM, "denied"), ConfigError, "no permission for a/b"),
    (OSError(errno.ENOSPC, "No space left on device"), StorageError, "file 'a/b': No space left on device"),
    (IsADirectoryError(errno.EISDIR, "Is a directory"), StorageError, "file 'a/b': Is a directory"),
    (TimeoutError("too slow"), StorageError, "file 'a/b': too slow"),
    (
        PermissionError(None, "user=bob, access=WRITE", "a/b"),
        ConfigError,
        "no permission for a/b: user=bob, access=WRITE",
    ),
]


@pytest.mark.parametrize(("error", "expected", "message"), MAPPED)
def test_errors_are_mapped(error: OSError, expected: type[MillraceError], message: str) -> None:
    with pytest.raises(expected) as caught, mapped_errors("file", "a/b"):
        raise error
    assert type(caught.value) is expected
    assert str(caught.value) == message
    assert caught.value.__cause__ is error


def test_bugs_are_not_mapped() -> None:
    with pytest.raises(ZeroDivisionError), mapped_errors("file", "a/b"):
        _ = 1 / 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.ECONNREFUSED, errno.EAGAIN, errno.ETIMEDOUT])
def test_what_can_be_mended_comes_with_a_hint(number: int) -> None:
    with pytest.raises(StorageError) as caught, mapped_errors("file", "a/b"):
        raise OSError(number, "it failed")
    assert caught.value.hint


@pytest.mark.parametrize("error", [*(error for error, _, _ in MAPPED), OSError(errno.EAGAIN, "no DataNode")])
def test_errors_that_tell_of_the_storage(error: OSError) -> None:
    assert is_of_storage(error)


@pytest.mark.parametrize("error", [OSError("Corrupt snappy compressed data"), ValueError("no Parquet file")])
def test_errors_that_tell_of_the_bytes(error: Exception) -> None:
    assert not is_of_storage(error)
