"""Access to a store by delta-rs: its options, and the translation of its errors."""

import contextlib
from collections.abc import Iterator

from millrace.storage.filesystems.hadoop_errors import temporary_number
from millrace.storage.filesystems.hdfs import CLIENT_OPTIONS


def delta_options(uri: str) -> dict[str, str]:
    """Return the storage options for a table at this URI."""
    return dict(CLIENT_OPTIONS) if uri.startswith("hdfs://") else {}


@contextlib.contextmanager
def delta_errors(uri: str) -> Iterator[None]:
    """Turn delta-rs's error of an unavailable storage into an `OSError` with its number; other errors stay."""
    from deltalake.exceptions import DeltaError  # imported here, because a server of models does not need this library

    try:
        yield
    except (DeltaError, OSError) as error:
        text = str(error)
        number = temporary_number(text)
        if number is None or getattr(error, "errno", None) is not None:
            raise
        reason = " ".join(text.replace("\x1b[31m↳\x1b[0m", "").split())
        raise OSError(number, f"{uri}/_delta_log: {reason}") from error
