"""Writes the rows of a new version of the clean table into files that no reader sees, and commits these by name."""

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Self

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from ingest.errors import CommitLost
from ingest.spark.errors import error_of_data, first_line, space_hint
from ingest.table.commit import PLAIN, newest, own_version
from ingest.table.transaction import NewFile, Transaction
from millrace.config.checks.flow import SPLIT
from millrace.errors import MillraceError, StorageError
from millrace.storage import Store, mapped_errors, uri_of
from millrace.tables.versions import CLEAN, TableVersion, table_parts

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

logger = logging.getLogger(__name__)

TXN_APP: Final = "millrace.ingest"
"""Delta's transaction id for every write of a clean table: of two writers that start from one version, one commits."""

_PROPERTIES: Final = {
    **PLAIN,
    # The log is the only record of which files were read, so its entries must not expire.
    "delta.enableExpiredLogCleanup": "false",
    # A commit fails if another program appended rows since the run started.
    "delta.isolationLevel": "Serializable",
}


class CleanWrite:
    """The rows of a new version, in files that no reader sees before `commit`.

    As a context manager it removes these files at the end if they were not committed. Files of a run that was killed,
    and those of a Spark job that failed, stay until Delta's VACUUM.

    The commit is fenced: its transaction number in Delta's log is the parent's version plus one, and it is not written
    if the log has this number already, or gets it first. A run that was paused while another run wrote the table
    therefore changes nothing when it resumes.
    """

    def __init__(
        self, spark: "SparkSession", store: Store, product: str, parent: TableVersion | None, *, append: bool = False
    ) -> None:
        """Prepare a write; nothing happens before `write`.

        Args:
            spark: The session.
            store: The store of the table.
            product: The product of the table.
            parent: The version that the run started from.
            append: Append to the parent's rows instead of replacing them.
        """
        self._spark, self._store, self._product, self._parent = spark, store, product, parent
        self._append = append and parent is not None
        self._transaction: Transaction | None = None
        self._files: list[NewFile] = []
        self._merged: list[NewFile] = []
        self._old_rows = 0
        self._number = 0 if parent is None else parent.version + 1
        self._is_overtaken = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._discard(self._files)

    @property
    def rows(self) -> int:
        """The exact number of new rows in the written files."""
        return self.rows_in_files - self._old_rows

    @property
    def rows_in_files(self) -> int:
        """The exact number of all rows in the written files, including those of the table after `merge`."""
        return sum(file.rows for file in self._files)

    def rows_by(self, column: str) -> dict[str | None, int]:
        """The exact number of rows by the value of a partition column."""
        counts = dict[str | None, int]()
        for file in self._files:
            value = file.partition[column]
            counts[value] = counts.get(value, 0) + file.rows
        return counts

    @property
    def bytes(self) -> int:
        """The size of the written files."""
        return sum(file.bytes for file in self._files)

    @property
    def paths(self) -> list[str]:
        """The written files."""
        return [f"{self._uri}/{file.path}" for file in self._files]

    def write(self, frame: "DataFrame") -> None:
        """Write rows, which replace those that were written before.

        Args:
            frame: The rows, arranged.

        Raises:
            ExpressionFailed: An expression of the frame failed for some row.
            StorageError: The files could not be written, or the table has other columns.
            Unavailable: Spark failed.
        """
        started = time.monotonic()
        before = self._files
        try:
            transaction = self._transaction or self._start(frame)
            self._files = transaction.write(frame)
        except (Py4JError, PySparkException, ConnectionError) as error:
            known = error_of_data("the steps", error)
            if known is not None:
                raise known from error
            reason = first_line(error)
            raise StorageError(f"writing the clean table: {reason}", hint=space_hint(reason)) from error
        self._discard(before)
        self._merged, self._old_rows = [], 0
        logger.info("wrote %d rows in %.1f s; no reader sees them yet", self.rows, time.monotonic() - started)

    def _start(self, frame: "DataFrame") -> Transaction:
        self._transaction = transaction = Transaction(self._spark, uri_of(self._uri))
        number, version = transaction.number(TXN_APP), self._parent.version if self._parent else -1
        self._is_overtaken = number >= self._number or transaction.version != version
        if not self._append:
            transaction.declare(frame, [SPLIT], _PROPERTIES)
        elif not transaction.has_columns_of(frame):
            raise StorageError(
                f"table '{self._product}/{CLEAN}' has other columns than its new rows",
                hint="run with --full to rebuild the table from all files that are there now",
            )
        return transaction

    def merge(self, frame: "DataFrame", files: list[NewFile], rows: int) -> None:
        """Write rows that replace those that were written before, and some files of the table.

        Args:
            frame: The new rows, and the rows of these files that stay; arranged.
            files: Files of `table_files`.
            rows: Number of new rows; with none, and no files, nothing is written.

        Raises:
            StorageError: The files could not be written.
            Unavailable: Spark failed.
        """
        if files or rows:
            self.write(frame)
        else:
            self._discard(self._files)
            self._files = []
        self._merged, self._old_rows = files, self.rows_in_files - rows

    def table_files(self) -> list[NewFile]:
        """The files of the table."""
        return self._started.current()

    def read(self, files: list[NewFile] | None = None) -> "DataFrame":
        """The written rows, or the rows of some files of the table."""
        return self._started.read(self._files if files is None else files)

    @property
    def _started(self) -> Transaction:
        if self._transaction is None:
            raise ValueError("nothing is written yet")
        return self._transaction

    def commit(self, metadata: Mapping[str, Any]) -> TableVersion:
        """Make the written rows a version of the table, all of them or none.

        After an exception the commit may have succeeded or not, so the log is read to find out.

        Args:
            metadata: Metadata of the commit.

        Returns:
            The version with the rows; if another run wrote the same rows first, its commit has that run's id.

        Raises:
            CommitLost: Another writer changed the table.
            StorageError: The table could not be written, or has another number of rows than were written.
        """
        started = time.monotonic()
        if self._transaction is None or self.rows != metadata["rows_out"]:
            raise StorageError(f"the new files have {self.rows} rows, expected {metadata['rows_out']}")
        parent_version = self._parent.version if self._parent else None
        before = self._parent.rows_of() if self._append and self._parent else 0
        total = before - sum(file.rows for file in self._merged) + self.rows_in_files
        failure: Exception | None = None
        written = self._files
        try:
            if not self._is_overtaken:
                removed = self._merged if self._append else self._transaction.current()
                mark = (TXN_APP, self._number)
                self._files = []  # from here on they may be a part of the table
                append = self._append and not removed
                self._transaction.read_all()
                self._transaction.commit(written, removed, mark, metadata, append=append)
        except (PySparkException, Py4JError, ConnectionError) as error:
            failure = error
        version = own_version(self._store, self._product, metadata["commit_key"], parent_version)
        if version is None:
            current = newest(self._store, self._product)
            if failure is not None and (current.version if current else None) == parent_version:
                reason = first_line(failure)
                raise StorageError(f"writing the clean table: {reason}", hint=space_hint(reason)) from failure
            self._discard(written)
            reason = first_line(failure) if failure else "another writer committed a version"
            raise CommitLost(f"{self._product}/{CLEAN}", parent=parent_version, reason=reason) from failure
        if version.commit.get("run_id") != metadata["run_id"]:
            self._discard(written)
        if version.rows_of() != total:
            raise StorageError(
                f"version {version.version} of {version.name} has {version.rows_of()} rows, expected {total}"
            )
        logger.info("committed version %d of %s in %.1f s", version.version, version.name, time.monotonic() - started)
        return version

    @property
    def _uri(self) -> str:
        return self._store.uri(*table_parts(self._product, CLEAN))

    def _discard(self, files: list[NewFile]) -> None:
        """Remove files that are not a part of the table; what cannot be removed stays for VACUUM."""
        for file in files:
            try:
                with mapped_errors("file", file.path):
                    self._store.files.remove(f"{self._uri}/{file.path}")
            except MillraceError as error:
                logger.warning("a file that is not in the table could not be removed: %s", error)
