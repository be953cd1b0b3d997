"""A source's files once each has been looked at: good ones staged, bad ones refused or left out by name."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from ingest.errors import BadFiles, FileUnreadable
from ingest.readers import Reader
from ingest.readers.registry import reader_for
from ingest.sources.files import SourceSnapshot, snapshot_of
from ingest.sources.partitions import add_partitions
from ingest.spark.columns import FILE, REASON, RECORD, ddl
from ingest.spark.parallel import for_each
from ingest.staging.lines import LineCount
from ingest.staging.staged_file import StagedFile
from millrace.config import Product
from millrace.config.sections.sources import Source as Section
from millrace.errors import DataRejected, shorten
from millrace.retry import NO_RETRY, RetryPolicy
from millrace.storage import files_of, mapped_errors

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StagedSource:
    """A source that can be parsed.

    Attributes:
        snapshot: The good files.
        columns: The declared columns, in order.
        reader: How they are read.
        staged: What Spark reads.
        origins: Number of the file in the snapshot, for each staged one.
        bad_files: Files that are left out, and why.
        shown: What a user calls it all.
        retry: The policy for reading staged files.
    """

    snapshot: SourceSnapshot
    columns: dict[str, str]
    reader: Reader
    staged: tuple[StagedFile, ...]
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
        """Rows that there are, before any is parsed."""
        return sum(file.lines.rows + len(file.long_lines) for file in self.staged)

    @property
    def dropped(self) -> tuple[str, ...]:
        """Columns of its files that are not declared."""
        names = (name for file in self.staged for name in self.reader.shape.extras(file.columns))
        return tuple(dict.fromkeys(names))

    def check_unchanged(self) -> None:
        """Compare the files with what they were.

        Raises:
            SourceChanged: Somebody wrote to one.
        """
        for file in self.snapshot.files:
            file.check_unchanged()

    def parse(self, spark: "SparkSession") -> "DataFrame":
        """All rows, by `Reader.read`, with the columns that stand in the names of folders."""
        if not self.staged:
            return spark.createDataFrame([], ddl({**self.columns, **dict.fromkeys((FILE, REASON, RECORD), "string")}))
        frame = self.reader.read(spark, self.staged)
        values = {
            staged.file: self.snapshot.files[origin].values
            for staged, origin in zip(self.staged, self.origins, strict=False)
        }
        return add_partitions(frame, spark, self.columns, values)


def open_sources(
    product: Product, snapshots: Mapping[str, SourceSnapshot], spark: "SparkSession", folder: str
) -> dict[str, StagedSource]:
    """Look at every file of the used sources, and stage what is good.

    Args:
        product: The product.
        snapshots: Files by source.
        spark: The session.
        folder: Staging folder.

    Raises:
        DataRejected: Bad files, every one by name.
        SourceEmpty: A source whose files are all empty.
    """
    started = time.monotonic()
    retry = RetryPolicy(product.config.store.wait_s)
    opened = {
        name: _open(product.config.sources[name], snapshot, spark, f"{folder}/{name}", retry)
        for name, snapshot in snapshots.items()
    }
    files = sum(len(item.snapshot.files) for item in opened.values())
    logger.info("looked at %d files in %.1f s", files, time.monotonic() - started)
    return opened


def _open(
    section: Section, snapshot: SourceSnapshot, spark: "SparkSession", folder: str, retry: RetryPolicy
) -> StagedSource:
    columns = {n: t for n, t in section.columns.items() if n not in snapshot.partition_columns}
    reader = reader_for(snapshot.source, section, columns)
    results = [list(snapshot.staged)] if snapshot.staged else _stage(reader, snapshot, spark, folder, retry)
    bad = {n: result for n, result in enumerate(results) if isinstance(result, DataRejected)}
    pairs = [(n, file) for n, result in enumerate(results) if not isinstance(result, DataRejected) for file in result]
    if pairs:
        checked = reader.check(spark, [file for _, file in pairs])
        bad |= {n: checked.bad[file.file] for n, file in pairs if file.file in checked.bad}
        pairs = [(n, _with_rows(file, checked.rows.get(file.file))) for n, file in pairs if n not in bad]
    bad_files = _judge(section, snapshot, bad)
    good = [n for n in range(len(snapshot.files)) if n not in bad]
    position = {n: place for place, n in enumerate(good)}
    kept = snapshot_of(snapshot.source, [snapshot.files[n] for n in good], snapshot.skipped) if bad else snapshot
    shown = snapshot.files[0].path if len(snapshot.files) == 1 else f"each of {len(snapshot.files)} files"
    shown = snapshot.staged[0].name if snapshot.staged else shown
    staged = tuple(file for _, file in pairs)
    origins = () if snapshot.staged else tuple(position[n] for n, _ in pairs)
    opened = StagedSource(kept, dict(section.columns), reader, staged, origins, bad_files, shown, retry)
    if opened.dropped:
        logger.warning("sources.%s: columns that are not declared: %s", opened.name, ", ".join(opened.dropped))
    odd = sum(file.lines.odd_quotes for file in staged)
    if odd and reader.counts_lines:
        logger.warning(
            "%s: %d lines hold an odd number of quotes; if values span lines, set options.multiLine", opened.name, odd
        )
    return opened


def _stage(
    reader: Reader, snapshot: SourceSnapshot, spark: "SparkSession", folder: str, retry: RetryPolicy
) -> "list[list[StagedFile] | DataRejected]":
    files = snapshot.files
    if files and all(file.stamp[0] == 0 for file in files):
        return [[] for _ in files]
    paths = [file.path for file in files]
    numbers = {path: number for number, path in enumerate(paths)}
    size = sum(file.stamp[0] for file in files)
    return for_each(spark, partial(_stage_one, reader, folder, numbers, retry), paths, size)


def _stage_one(
    reader: Reader, folder: str, numbers: Mapping[str, int], retry: RetryPolicy, path: str
) -> list[StagedFile]:
    with mapped_errors("file", path):
        if not files_of(path, retry).size(path):
            raise FileUnreadable(path, reason="it is empty, 0 bytes")
    return reader.stage(path, f"{folder}/{numbers[path]:05d}", retry)


def _with_rows(file: StagedFile, rows: int | None) -> StagedFile:
    return file if rows is None else replace(file, lines=LineCount(rows=rows))


def _judge(section: Section, snapshot: SourceSnapshot, bad: Mapping[int, DataRejected]) -> dict[str, str]:
    """Refuse bad files, or say which are left out."""
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
