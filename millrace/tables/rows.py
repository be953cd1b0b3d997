"""Reads rows of a table version with pyarrow, by ranges of its files; checksums detect every damaged byte."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from millrace.errors import DataRejected, StorageError
from millrace.retry import NO_RETRY, RetryPolicy
from millrace.storage import has_digest, is_of_storage, mapped_errors, open_input
from millrace.tables.versions import DataFile, TableVersion


@dataclass(frozen=True)
class RowRange:
    """Rows ``start`` to ``stop`` (exclusive) of one file. Its digest is checked if it is known."""

    path: str
    start: int
    stop: int
    sha256: str = ""

    @property
    def rows(self) -> int:
        """Number of rows in the range."""
        return self.stop - self.start


def cut_rows(files: tuple[DataFile, ...], start: int, stop: int) -> list[RowRange]:
    """Cut rows ``start`` to ``stop`` of several files, counted through all of them, into ranges of each file."""
    ranges = []
    position = 0
    for file in files:
        low, high = max(start - position, 0), min(stop - position, file.rows)
        if low < high:
            ranges.append(RowRange(file.path, low, high, file.sha256))
        position += file.rows
    return ranges


def read_rows(
    rows: RowRange, columns: list[str], batch_rows: int = 65_536, retry: RetryPolicy = NO_RETRY
) -> Iterator[pa.RecordBatch]:
    """Read a row range in batches, with the file's digest and its pages' checksums verified.

    Only the row groups that hold the range are decoded.

    Raises:
        DataRejected: The bytes do not match their checksums, the file is not Parquet, or rows or columns are missing.
        ConfigError: No permission.
        StorageError: The file cannot be read.
    """
    path, left = rows.path, rows.rows
    with data_file_errors(path):
        if rows.sha256 and not has_digest(path, rows.sha256, retry):
            raise _damaged(path, "its digest differs from the one in the table")
        with open_input(path, retry) as source, pq.ParquetFile(source, page_checksum_verification=True) as file:
            _check_footer(file, path, columns)
            groups: list[int] = []
            position, skip = 0, 0
            for group in range(file.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                if position + count > rows.start and position < rows.stop:
                    skip = rows.start - position if not groups else skip
                    groups.append(group)
                position += count
            for batch in file.iter_batches(batch_rows, row_groups=groups, columns=columns):
                taken = batch.slice(min(skip, batch.num_rows), left)
                skip -= min(skip, batch.num_rows)
                if taken.num_rows:
                    left -= taken.num_rows
                    yield taken
                if not left:
                    return
    if left > 0:
        raise _damaged(path, f"{left} rows fewer than the table's log says")


@contextlib.contextmanager
def data_file_errors(path: str) -> Iterator[None]:
    """Translate the errors of reading a data file: damaged bytes, or a failure of the storage.

    Raises:
        DataRejected: The bytes are damaged.
        ConfigError: No permission.
        StorageError: The file is missing, or cannot be read.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise StorageError(f"{path}: the table's log names this file, but it is gone") from error
    except (pa.ArrowException, OSError) as error:
        if is_of_storage(error):
            with mapped_errors("file", path):
                raise
        raise _damaged(path, str(error)) from error


def first_rows(table: TableVersion, count: int) -> list[dict[str, Any]]:
    """Return the first rows of a table version, with the values of its partition columns."""
    rows: list[dict[str, Any]] = []
    for file in table.files:
        left = count - len(rows)
        if left <= 0:
            break
        columns = [name for name in table.columns if name not in file.partition]
        found = RowRange(file.path, 0, min(left, file.rows), file.sha256)
        for batch in read_rows(found, columns, retry=table.retry):
            rows += [{**row, **file.partition} for row in batch.to_pylist()]
    return rows


def _check_footer(file: pq.ParquetFile, path: str, columns: list[str]) -> None:
    """Check the footer, which no checksum covers: its row counts must agree, and it must have the columns."""
    counted = sum(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))
    if counted != file.metadata.num_rows:
        raise _damaged(path, f"{counted} rows in row groups, {file.metadata.num_rows} in total")
    missing = [name for name in columns if name not in file.schema_arrow.names]
    if missing:
        raise _damaged(path, f"there is no column '{missing[0]}'")


def _damaged(path: str, reason: str) -> DataRejected:
    hint = "restore the file, or write the table again"
    return DataRejected(f"{path}: damaged or unreadable: {reason}", hint=hint)
