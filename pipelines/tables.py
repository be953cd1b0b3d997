"""Table versions: Delta tables resolved to their files by delta-rs, without a JVM.

Spark writes tables; everybody else reads the log here and the files with pyarrow.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from pipelines.errors import ArtifactNotFound, DataRejected, StorageError
from pipelines.storage import Store, is_plain

CLEAN = "clean"
REJECTS = "rejects"
PREDICTIONS = "predictions"


def table_parts(product: str, table: str) -> tuple[str, str, str]:
    """Where a table lies under the store's root."""
    return ("tables", product, table)


@dataclass(frozen=True)
class DataFile:
    """One Parquet file of a table version.

    Attributes:
        path: Absolute local path.
        rows: Exact row count from the log.
        partition: Value by partition column.
    """

    path: str
    rows: int
    partition: dict[str, str]


@dataclass(frozen=True)
class RowRange:
    """Rows ``start`` to ``stop`` (exclusive) of one file."""

    path: str
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """How many rows it names."""
        return self.stop - self.start


@dataclass(frozen=True)
class TableVersion:
    """One immutable version of a table.

    Attributes:
        name: ``product/table``.
        uri: Folder of the table.
        version: Number in the Delta log.
        columns: Delta type name by column, partition columns included.
        files: Data files, in a fixed order.
        commit: What the writer recorded in the commit: key, contract and source digests, counts.
        committed: When, for people and for the default logical date.
    """

    name: str
    uri: str
    version: int
    columns: dict[str, str]
    files: tuple[DataFile, ...]
    commit: dict[str, Any]
    committed: datetime

    def files_of(self, split: str | None) -> tuple[DataFile, ...]:
        """Files of one split, or all of them."""
        return tuple(f for f in self.files if split is None or f.partition.get("split") == split)

    def rows_of(self, split: str | None = None) -> int:
        """Exact number of rows, from the log alone."""
        return sum(file.rows for file in self.files_of(split))


def find_table(store: Store, product: str, table: str, version: int | None = None) -> TableVersion:
    """Resolve a table version; the newest by default.

    Raises:
        ArtifactNotFound: There is no such table or version.
        StorageError: The log cannot be read.
    """
    parts = table_parts(product, table)
    name = "/".join(parts[1:])
    if not all(map(is_plain, parts)) or not store.exists(*parts, "_delta_log"):
        raise ArtifactNotFound(kind="table", name=name, hint=f"run: millrace ingest, for product {product}")
    try:
        delta = DeltaTable(str(store.path(*parts)))
        if version is not None and not 0 <= version <= delta.version():
            raise ArtifactNotFound(
                kind="table",
                name=name,
                version=version,
                hint=f"the newest version is {delta.version()}",
            )
        delta = DeltaTable(str(store.path(*parts)), version=version) if version is not None else delta
        return _resolve(delta, name, store.path(*parts))
    except TableNotFoundError as error:
        raise ArtifactNotFound(kind="table", name=name) from error
    except (DeltaError, OSError) as error:
        raise StorageError(f"table '{name}' cannot be read: {error}") from error


def _resolve(delta: DeltaTable, name: str, folder: Path) -> TableVersion:
    actions = pa.table(delta.get_add_actions(flatten=True)).to_pylist()
    files = tuple(
        DataFile(
            path=str(folder / unquote(action["path"])),
            rows=action["num_records"],
            partition={k.removeprefix("partition."): v for k, v in action.items() if k.startswith("partition.")},
        )
        for action in sorted(actions, key=lambda action: str(action["path"]))
    )
    commit = _commit_info(folder, delta.version())
    schema = json.loads(delta.schema().to_json())
    return TableVersion(
        name=name,
        uri=str(folder),
        version=delta.version(),
        columns={f["name"]: f["type"] if isinstance(f["type"], str) else f["type"]["type"] for f in schema["fields"]},
        files=files,
        commit=json.loads(commit.get("userMetadata") or "{}"),
        committed=datetime.fromtimestamp(commit["timestamp"] / 1000).astimezone(),
    )


def _commit_info(folder: Path, version: int) -> dict[str, Any]:
    # Not from DeltaTable.history: of a pinned version it gives the newest commits, under wrong numbers.
    log = folder / "_delta_log" / f"{version:020}.json"
    actions = (json.loads(line) for line in log.read_text(encoding="utf-8").splitlines())
    info: dict[str, Any] = next((action["commitInfo"] for action in actions if "commitInfo" in action), {})
    return {"timestamp": log.stat().st_mtime * 1000, **info}


def cut_rows(files: tuple[DataFile, ...], start: int, stop: int) -> list[RowRange]:
    """Rows ``start`` to ``stop`` of the files taken one after another, as ranges inside each."""
    ranges = []
    position = 0
    for file in files:
        low, high = max(start - position, 0), min(stop - position, file.rows)
        if low < high:
            ranges.append(RowRange(file.path, low, high))
        position += file.rows
    return ranges


def read_rows(rows: RowRange, columns: list[str], batch_rows: int = 65_536) -> Iterator[pa.RecordBatch]:
    """Read a row range with page checksums verified, in batches.

    Only the row groups that hold the range are decoded.

    Raises:
        DataRejected: The file's bytes do not match their checksums, it is no Parquet file, or it lacks rows or columns.
        StorageError: The file cannot be read.
    """
    path = unquote(urlsplit(rows.path).path) if rows.path.startswith("file://") else rows.path
    left = rows.rows
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
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
    except FileNotFoundError as error:
        raise StorageError(f"{path}: the table's log names this file, but it is gone") from error
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, str(error)) from error
    if left > 0:
        raise _damaged(path, f"{left} rows fewer than the table's log says")


def _check_footer(file: pq.ParquetFile, path: str, columns: list[str]) -> None:
    """No checksum covers the footer; compare what it says twice, and with what is asked."""
    counted = sum(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))
    if counted != file.metadata.num_rows:
        raise _damaged(path, f"{counted} rows in row groups, {file.metadata.num_rows} in all")
    missing = [name for name in columns if name not in file.schema_arrow.names]
    if missing:
        raise _damaged(path, f"there is no column '{missing[0]}'")


def _damaged(path: str, reason: str) -> DataRejected:
    hint = "restore the file, or write the table again"
    return DataRejected(f"{path}: damaged or unreadable: {reason}", hint=hint)
