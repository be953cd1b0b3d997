"""The predictions table: its columns, and its one commit per run."""

import contextlib
import json
import logging
import time
from collections.abc import Collection, Iterator, Sequence
from datetime import date
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction

from millrace.errors import ConfigError, FeatureMismatch, StorageError
from millrace.features.spec import table_dtype
from millrace.models.manifest import ModelManifest
from millrace.retry import RetryPolicy, retried
from millrace.storage import Store, delta_errors, delta_options, open_input
from millrace.tables.rows import data_file_errors
from millrace.tables.versions import PREDICTIONS, TableVersion, table_parts
from serve.errors import TableDiffers
from serve.scoring.batches import ERROR, SPLIT, Written

logger = logging.getLogger(__name__)

DATE: Final = "logical_date"
CONFLICTS: Final = 10
"""Times that an append looks again because another writer was faster."""
CONSTANTS: Final = {
    "model_version": pa.int64(),
    "model_digest": pa.string(),
    "table_version": pa.int64(),
}
"""Columns that are the same in a whole run, beside the date."""
KEPT_LOG: Final = {"delta.enableExpiredLogCleanup": "false"}
"""Entries of the log stay: they tell a second run what the first one added."""
_CONFLICTS: Final = RetryPolicy(
    wait_s=None,
    tries=CONFLICTS,
    first_pause_s=0.05,
    longest_pause_s=1.0,
    is_temporary=lambda error: isinstance(error, CommitFailedError),
    waits_for="another writer of the predictions",
    log_after_s=5.0,
)
_OUTPUTS: Final = {
    "float32": pa.float32(),
    "float64": pa.float64(),
    "int64": pa.int64(),
    "bool": pa.bool_(),
    "string": pa.string(),
}
_ARRAYS: Final = frozenset({"probabilities"})
"""Outputs with one value per class."""


def check_features(manifest: ModelManifest, table: TableVersion) -> None:
    """Make sure that a table has what a model reads, before anything is computed.

    Raises:
        FeatureMismatch: A column is missing, or has another type.
    """
    where = f"in {table.name} version {table.version}"
    for feature in manifest.features.inputs:
        if feature.name not in table.columns:
            raise FeatureMismatch(
                feature.name,
                expected=f"a column of type {feature.dtype} {where}",
                found="no such column",
            )
        found = table_dtype(feature.name, table.columns[feature.name])
        if found != feature.dtype:
            raise FeatureMismatch(feature.name, expected=f"type {feature.dtype}", found=f"{found} {where}")
    for name in manifest.features.key:
        if name not in table.columns:
            raise FeatureMismatch(name, expected=f"a key column {where}", found="no such column")


def plan_schema(manifest: ModelManifest, table: TableVersion) -> pa.Schema:
    """Columns of a file of predictions: keys, split, outputs, error, constants.

    Raises:
        ConfigError: A key has the name of another column.
    """
    stored = _read_schema(table.files[0].path, table.retry)
    keys = [stored.field(name).remove_metadata() for name in manifest.features.key if name != SPLIT]
    fields = [*keys, pa.field(SPLIT, pa.string())]
    for name, dtype in manifest.outputs.items():
        fields.append(pa.field(name, _list_of(_OUTPUTS[dtype]) if name in _ARRAYS else _OUTPUTS[dtype]))
    fields += [pa.field(ERROR, pa.string()), *(pa.field(*item) for item in CONSTANTS.items())]
    names = [field.name for field in fields] + [DATE]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"ingest.key: '{twice[0]}' is the name of another column of the predictions",
            hint="rename it in ingest.steps",
        )
    return pa.schema([field.with_nullable(True) for field in fields])


def _list_of(kind: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("element", kind))  # the name that Delta and Spark give it


def _read_schema(path: str, retry: RetryPolicy) -> pa.Schema:
    with data_file_errors(path), open_input(path, retry) as file:
        return pq.read_schema(file)


class Predictions:
    """The predictions table of a product.

    Args:
        store: Where it lies.
        product: Whose it is.
    """

    def __init__(self, store: Store, product: str) -> None:
        self.uri = store.uri(*table_parts(product, PREDICTIONS))
        self.files, self.retry = store.files, store.retry

    def partition(self, day: str) -> str:
        """The folder for files of a date."""
        return f"{self.uri}/{DATE}={day}"

    def find_commit(self, commit_key: str) -> tuple[int | None, dict[str, Any]] | None:
        """The version that a commit key made, and what it recorded; reads the log only.

        Returns:
            None if there was no such commit; no version and no record if the log no longer has its entry.

        Raises:
            StorageError: The log cannot be read.
        """
        with _mapped_errors():
            return self._find_commit(commit_key)

    @retried
    def _find_commit(self, commit_key: str) -> tuple[int | None, dict[str, Any]] | None:
        if not self.files.exists(f"{self.uri}/_delta_log"):
            return None
        with delta_errors(self.uri):
            table = self._log()
            if table.transaction_version(commit_key) is None:
                return None
            for entry in table.history():
                recorded: dict[str, Any] = json.loads(entry.get("userMetadata") or "{}")
                if recorded.get("commit_key") == commit_key:
                    return int(entry["version"]), recorded
            return None, {}

    def _log(self, version: int | None = None) -> DeltaTable:
        return DeltaTable(self.uri, version=version, storage_options=delta_options(self.uri))

    def append(self, files: Sequence[Written], schema: pa.Schema, record: dict[str, Any]) -> None:
        """Make files visible in one step; of several writers with one commit key exactly one succeeds.

        Args:
            files: All in the partition of the record's date.
            schema: Their columns.
            record: Kept in the commit; ``commit_key`` and ``logical_date`` are read here.

        Raises:
            TableDiffers: The table has a column of this name in another type.
            StorageError: The log could not be written.
        """
        with _mapped_errors():
            # Of several that make the table, or add a column to it, all but one have to look again.
            _CONFLICTS.call(self._append, files, schema.append(pa.field(DATE, pa.date32())), record)

    @retried
    def _append(self, files: Sequence[Written], whole: pa.Schema, record: dict[str, Any]) -> None:
        with delta_errors(self.uri):
            table = self._open(whole)
            now = int(time.time() * 1000)
            transaction = Transaction(record["commit_key"], 1, now)
            if table.transaction_version(record["commit_key"]) is not None:
                return
            table.create_write_transaction(
                [self._add_action(file, record[DATE]) for file in files],
                "append",
                whole,
                [DATE],
                commit_properties=CommitProperties(
                    custom_metadata={"userMetadata": json.dumps(record)},
                    app_transactions=[transaction],
                ),
            )

    def remove_rest(self, folder: str, run: str, kept: Collection[str]) -> None:
        """Remove the files of a run that are not in a list.

        Args:
            folder: A partition.
            run: In the names of the run's files.
            kept: Paths of the files to keep.
        """
        for name in self.files.names(folder):
            path = f"{folder}/{name}"
            if f"-{run}-" in name and path not in kept:
                logger.warning("removed %s, which a task left behind", name)
                self.files.remove(path)

    def count_added(self, version: int) -> tuple[int, int]:
        """Rows that a version added, and how many have no prediction; read back from the files' own footers.

        Raises:
            StorageError: The log or a file cannot be read.
        """
        with _mapped_errors():
            counts = [_count_rows(path.removeprefix("file://"), self.retry) for path in self._added(version)]
        return sum(rows for rows, _ in counts), sum(errors for _, errors in counts)

    @retried
    def _added(self, version: int) -> list[str]:
        with delta_errors(self.uri):
            before = set(self._log(version - 1).file_uris()) if version else set()
            return sorted(set(self._log(version).file_uris()) - before)

    def _open(self, schema: pa.Schema) -> DeltaTable:
        options = delta_options(self.uri)
        DeltaTable.create(
            self.uri,
            schema,
            mode="ignore",
            partition_by=[DATE],
            name=PREDICTIONS,
            configuration=KEPT_LOG,
            storage_options=options,
        )
        table = self._log()
        if not KEPT_LOG.items() <= table.metadata().configuration.items():
            table.alter.set_table_properties(KEPT_LOG)
            table = self._log()
        found = {field.name: field for field in table.schema().fields}
        new = []
        for field in Schema.from_arrow(schema).fields:
            if field.name not in found:
                new.append(field)
            elif found[field.name].type != field.type:
                raise TableDiffers(field.name, found=str(found[field.name].type), expected=str(field.type))
        if new:
            table.alter.add_columns(new)
            table = self._log()
        return table

    def _add_action(self, file: Written, day: str) -> AddAction:
        path = file.path.removeprefix(f"{self.uri}/")
        stats = json.dumps({"numRecords": file.rows})
        return AddAction(path, file.size, {DATE: day}, int(time.time() * 1000), True, stats)


def parse_date(text: str) -> str:
    """Parse a logical date, and return it in the form of the table.

    Raises:
        ConfigError: It is no date.
    """
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ConfigError(f"--date {text}: expected a date such as 2013-01-31") from None


@contextlib.contextmanager
def _mapped_errors() -> Iterator[None]:
    try:
        yield
    except (DeltaError, OSError, pa.ArrowInvalid) as error:
        raise StorageError(f"table '{PREDICTIONS}': {error}") from error


def _count_rows(path: str, retry: RetryPolicy) -> tuple[int, int]:
    with open_input(path, retry) as source, pq.ParquetFile(source) as file:
        metadata = file.metadata
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        columns = [
            next(g.column(i) for i in range(g.num_columns) if g.column(i).path_in_schema == ERROR) for g in groups
        ]
        nulls = sum(c.statistics.null_count for c in columns)
        return metadata.num_rows, metadata.num_rows - nulls
