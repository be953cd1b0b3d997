"""Checks and stages every file of a source; bad files end the run or are left out, each with its name."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from ingest.errors import BadFiles, FileUnreadable
from ingest.readers import Reader
from ingest.readers.registry import reader_for
from ingest.sources.partitions import add_partitions
from ingest.sources.snapshot import SourceSnapshot, snapshot_of
from ingest.spark.columns import FILE, REASON, RECORD, ddl
from ingest.spark.executors import map_paths
from ingest.staging.lines import LineCount
from ingest.staging.shape import Shape
from ingest.staging.staged_file import StagedFile
from millrace.config import Product
from millrace.config.sections.columns import Column
from millrace.config.sections.sources import Source
from millrace.errors import DataRejected, shorten
from millrace.retry import NO_RETRY, RetryPolicy
from millrace.storage import files_of, mapped_errors

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StagedSource:
    """A source whose files are checked and staged, ready to be parsed.

    Attributes:
        snapshot: The good files.
        columns: The declared columns, in order.
        reader: The reader of its format.
        files: The staged files, which Spark reads.
        origins: For each staged file, the index of its source file in the snapshot.
        bad_files: Files that are left out, each with the reason.
        shown: Name of the source's data in messages.
        retry: The policy for reading the files.
    """

    snapshot: SourceSnapshot
    columns: Mapping[str, Column]
    reader: Reader
    files: tuple[StagedFile, ...]
    origins: tuple[int, ...]
    bad_files: Mapping[str, str]
    shown: str
    retry: RetryPolicy = NO_RETRY

    @property
    def name(self) -> str:
        """The source's name."""
        return self.snapshot.source

    @property
    def rows(self) -> int:
        """Number of rows, counted before any row is parsed."""
        return sum(file.lines.rows + len(file.long_lines) for file in self.files)

    @property
    def dropped(self) -> tuple[str, ...]:
        """Columns in its files that are not declared."""
        names = (name for file in self.files for name in self.reader.shape.extras(file.columns))
        return tuple(dict.fromkeys(names))

    def between(self, first: str, last: str) -> "StagedSource":
        """The source with only the staged files whose `StagedFile.file` is between two, both included."""
        kept = [n for n, file in enumerate(self.files) if first <= file.file <= last]
        origins = tuple(self.origins[n] for n in kept) if self.origins else ()
        return replace(self, files=tuple(self.files[n] for n in kept), origins=origins)

    def check_unchanged(self) -> None:
        """Check that no source file changed since its digest was computed.

        Raises:
            SourceChanged: A file changed.
        """
        for file in self.snapshot.files:
            file.check_unchanged()

    def parse(self, spark: "SparkSession", *, brief: bool = False) -> "DataFrame":
        """Parse all rows with `Reader.read`, and add the columns whose values come from folder names."""
        if not self.files:
            types = {name: column.type for name, column in self.columns.items()}
            return spark.createDataFrame([], ddl({**types, **dict.fromkeys((FILE, REASON, RECORD), "string")}))
        frame = self.reader.read(spark, self.files, brief=brief)
        values = {
            file.file: self.snapshot.files[origin].values
            for file, origin in zip(self.files, self.origins, strict=False)
        }
        return add_partitions(frame, spark, self.columns, values)


def stage_sources(
    product: Product, snapshots: Mapping[str, SourceSnapshot], spark: "SparkSession", folder: str
) -> dict[str, StagedSource]:
    """Check every file of the used sources, and stage the good ones.

    Args:
        product: The product.
        snapshots: Files by source.
        spark: The session.
        folder: Staging folder.

    Raises:
        DataRejected: Bad files; the message names each of them.
    """
    started = time.monotonic()
    retry = RetryPolicy(product.config.store.wait_s)
    staged = {
        name: _stage_source(product.config.sources[name], snapshot, spark, f"{folder}/{name}", retry)
        for name, snapshot in snapshots.items()
    }
    files = sum(len(source.snapshot.files) for source in staged.values())
    logger.info("checked %d files in %.1f s", files, time.monotonic() - started)
    return staged


def _stage_source(
    section: Source, snapshot: SourceSnapshot, spark: "SparkSession", folder: str, retry: RetryPolicy
) -> StagedSource:
    columns = [name for name in section.columns if name not in snapshot.partition_columns]
    reader = reader_for(snapshot.source, section, columns)
    results = [list(snapshot.staged)] if snapshot.staged else _stage_files(reader, snapshot, spark, folder, retry)
    bad = {n: result for n, result in enumerate(results) if isinstance(result, DataRejected)}
    pairs = [(n, file) for n, result in enumerate(results) if not isinstance(result, DataRejected) for file in result]
    if pairs:
        checked = reader.check(spark, [file for _, file in pairs])
        bad |= {n: checked.bad[file.file] for n, file in pairs if file.file in checked.bad}
        pairs = [(n, _with_rows(file, checked.rows.get(file.file))) for n, file in pairs if n not in bad]
    bad_files = _leave_out(section, snapshot, bad)
    good = [n for n in range(len(snapshot.files)) if n not in bad]
    index = {n: new for new, n in enumerate(good)}
    kept = snapshot_of(snapshot.source, [snapshot.files[n] for n in good], snapshot.skipped) if bad else snapshot
    files = tuple(file for _, file in pairs)
    origins = () if snapshot.staged else tuple(index[n] for n, _ in pairs)
    staged = StagedSource(kept, Shape.of(section).declared, reader, files, origins, bad_files, _shown(snapshot), retry)
    _warn(staged)
    return staged


def _shown(snapshot: SourceSnapshot) -> str:
    if snapshot.staged:
        return snapshot.staged[0].name
    return snapshot.files[0].path if len(snapshot.files) == 1 else f"each of {len(snapshot.files)} files"


def _warn(staged: StagedSource) -> None:
    if staged.dropped:
        logger.warning("sources.%s: columns that are not declared: %s", staged.name, ", ".join(staged.dropped))
    odd = sum(file.lines.odd_quotes for file in staged.files)
    if odd and staged.reader.counts_lines:
        logger.warning(
            "%s: %d lines hold an odd number of quotes; if values span lines, set options.multiLine", staged.name, odd
        )


def _stage_files(
    reader: Reader, snapshot: SourceSnapshot, spark: "SparkSession", folder: str, retry: RetryPolicy
) -> "list[list[StagedFile] | DataRejected]":
    files = snapshot.files
    if files and all(file.stamp[0] == 0 for file in files):
        return [[] for _ in files]
    paths = [file.path for file in files]
    numbers = {path: number for number, path in enumerate(paths)}
    size = sum(file.stamp[0] for file in files)
    return map_paths(spark, partial(_stage_file, reader, folder, numbers, retry), paths, size)


def _stage_file(
    reader: Reader, folder: str, numbers: Mapping[str, int], retry: RetryPolicy, path: str
) -> list[StagedFile]:
    with mapped_errors("file", path):
        if not files_of(path, retry).size(path):
            raise FileUnreadable(path, reason="it is empty, 0 bytes")
    return reader.stage(path, f"{folder}/{numbers[path]:05d}", retry)


def _with_rows(file: StagedFile, rows: int | None) -> StagedFile:
    return file if rows is None else replace(file, lines=LineCount(rows=rows))


def _leave_out(section: Source, snapshot: SourceSnapshot, bad: Mapping[int, DataRejected]) -> dict[str, str]:
    """Return the bad files with their reasons if the source allows to leave them out; raise otherwise."""
    if not bad:
        return {}
    of, reasons = len(snapshot.files), {snapshot.files[n].path: str(error) for n, error in sorted(bad.items())}
    if (
        section.on_bad_file == "quarantine"
        and len(bad) <= section.max_bad_files
        and (len(bad) < of or section.incremental)
    ):
        for reason in reasons.values():
            logger.warning("sources.%s: left out: %s", snapshot.source, shorten(reason, 300))
        return reasons
    if len(bad) == 1:
        raise next(iter(bad.values()))
    allowed = section.max_bad_files if section.on_bad_file == "quarantine" else 0
    raise BadFiles(snapshot.source, list(reasons.values()), of=of, allowed=allowed)
