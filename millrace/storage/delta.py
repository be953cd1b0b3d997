"""How delta-rs reaches a store: its options, and its errors as those of the file system below it."""

import contextlib
from collections.abc import Iterator

from millrace.storage.filesystems.hadoop_errors import passing_number
from millrace.storage.filesystems.hdfs import CLIENT_OPTIONS


def delta_options(uri: str) -> dict[str, str]:
    """Storage options for a table at this place."""
    return dict(CLIENT_OPTIONS) if uri.startswith("hdfs://") else {}


@contextlib.contextmanager
def delta_errors(uri: str) -> Iterator[None]:
    """Tell a storage that is away from a table that is wrong: the former becomes an `OSError` with its number."""
    from deltalake.exceptions import DeltaError  # not above: who serves models has no tables to keep in memory

    try:
        yield
    except (DeltaError, OSError) as error:
        text = str(error)
        number = passing_number(text)
        if number is None or getattr(error, "errno", None) is not None:
            raise
        said = " ".join(text.replace("\x1b[31m↳\x1b[0m", "").split())
        raise OSError(number, f"{uri}/_delta_log: {said}") from error
