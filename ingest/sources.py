"""Declared sources: the files as they are named and checked, then their rows, counted and persisted."""

import contextlib
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pyspark.sql import functions as F

from ingest import delimited, staging
from ingest.delimited import FILE, REASON, RECORD, quoted
from ingest.errors import DigestMismatch, LinesLost, SourceChanged, SourceEmpty, TooManyRejected
from ingest.options import ReaderOptions, read_options
from ingest.spark_errors import mapped_actions
from ingest.staging import StagedFile
from pipelines.config import Config, Product
from pipelines.digests import sha256_of
from pipelines.errors import shorten
from pipelines.storage import mapped_errors

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

logger = logging.getLogger(__name__)

SHOWN_REJECTS: Final = 5
REJECT_COLUMNS: Final = ("source", "source_file", "reason", "record")


@dataclass(frozen=True)
class SourceFile:
    """A source's file as it was when its digest was taken.

    Attributes:
        source: Name of the source.
        path: The file.
        sha256: Digest of its bytes.
        stamp: Size, time of change and identity, to notice a writer.
    """

    source: str
    path: Path
    sha256: str
    stamp: tuple[int, int, int]

    def check_unchanged(self) -> None:
        """Compare the file with what it was.

        Raises:
            SourceChanged: Somebody wrote to it.
        """
        if self.stamp != _stamp(self.path):
            raise SourceChanged(self.source, str(self.path))


@dataclass(frozen=True)
class Source:
    """A source's rows.

    Attributes:
        file: Where they come from.
        frame: Good rows, exactly the declared columns.
        rejects: Malformed and blank rows, in `REJECT_COLUMNS`; None where there are none.
        rows: All rows, malformed and blank ones too.
        rejected: Malformed and blank ones.
    """

    file: SourceFile
    frame: "DataFrame"
    rejects: "DataFrame | None"
    rows: int
    rejected: int

    def summary(self) -> dict[str, object]:
        """What the commit and the run's record say of it."""
        return {
            "file": self.file.path.name,
            "sha256": self.file.sha256,
            "rows": self.rows,
            "rejected": self.rejected,
        }


def used_sources(config: Config) -> list[str]:
    """The base and every joined source, in that order, each once."""
    joined = [step.join.source for step in config.ingest.steps if step.join]
    return list(dict.fromkeys([config.ingest.base, *joined]))


def find_files(product: Product) -> dict[str, SourceFile]:
    """Find the used sources' files and check their digests.

    Raises:
        InputMissing: A file is not there.
        DigestMismatch: A file is not the declared one.
    """
    files = {}
    for name in used_sources(product.config):
        path = product.source_path(name)
        with mapped_errors("file", str(path)):
            stamp, found = _stamp(path), sha256_of(path)
        declared = product.config.sources[name].sha256
        if declared is not None and found != declared:
            raise DigestMismatch(name, str(path), expected=declared, found=found)
        files[name] = SourceFile(name, path, found, stamp)
    return files


def _stamp(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


@dataclass(frozen=True)
class _Parsed:
    file: SourceFile
    columns: dict[str, str]
    options: ReaderOptions
    staged: list[StagedFile]
    frame: "DataFrame"

    @property
    def name(self) -> str:
        return self.file.source


def load_sources(
    product: Product,
    files: Mapping[str, SourceFile],
    spark: "SparkSession",
    folder: Path,
    stack: contextlib.ExitStack,
) -> dict[str, Source]:
    """Stage, parse, persist and count the used sources.

    Args:
        product: The product.
        files: What `find_files` returned.
        spark: The session.
        folder: Staging folder; must live as long as the frames.
        stack: Unpersists the frames in the end.

    Raises:
        DataRejected: A header, an archive, the share of malformed rows, or lines that got lost.
        SourceEmpty: A source without rows.
    """
    started = time.monotonic()
    parsed = [_parse(product, file, spark, folder) for file in files.values()]
    for item in parsed:
        item.frame.persist()
        stack.callback(item.frame.unpersist)
    with mapped_actions("reading the sources"):
        counts = _count(parsed)
    loaded = {}
    for item in parsed:
        item.file.check_unchanged()
        source = _account(item, counts, product.config.ingest.max_rejected, spark)
        loaded[item.name] = source
    total = sum(source.rows for source in loaded.values())
    seconds = time.monotonic() - started
    logger.info("read %d rows of %d sources in %.1f s", total, len(loaded), seconds)
    return loaded


def _parse(product: Product, file: SourceFile, spark: "SparkSession", folder: Path) -> _Parsed:
    section = product.config.sources[file.source]
    options = read_options(file.source, section)
    staged = staging.stage(file.path, folder / file.source, section.columns, options)
    if not any(item.lines.rows for item in staged):
        raise SourceEmpty(file.source, str(file.path))
    odd = sum(item.lines.odd_quotes for item in staged)
    if odd and not options.multi_line:
        logger.warning(
            "%s: %d lines hold an odd number of quotes; if values span lines, set options.multiLine",
            file.source,
            odd,
        )
    frame = delimited.parse(spark, staged, dict(section.columns), options)
    return _Parsed(file, dict(section.columns), options, staged, frame)


def _count(parsed: list[_Parsed]) -> dict[tuple[str, str], tuple[int, int]]:
    """Rows and malformed rows by source and staged file: one job for all of them."""
    frames = [
        item.frame.select(
            F.lit(item.name).alias("source"),
            F.col(quoted(FILE)).alias("file"),
            F.col(quoted(REASON)).isNotNull().alias("rejected"),
        )
        for item in parsed
    ]
    rows = reduce(lambda left, right: left.unionAll(right), frames).groupBy("source", "file")
    counts = rows.agg(F.count(F.lit(1)).alias("rows"), F.count_if("rejected").alias("rejected"))
    return {(row[0], row[1]): (row[2], row[3]) for row in counts.collect()}


def _account(
    item: _Parsed,
    counts: dict[tuple[str, str], tuple[int, int]],
    allowed: float,
    spark: "SparkSession",
) -> Source:
    rows = rejected = trailing = 0
    for file in item.staged:
        parsed, malformed = counts.get((item.name, file.path.name), (0, 0))
        if not item.options.multi_line:
            if parsed != file.lines.rows:
                raise LinesLost(file.name, lines=file.lines.rows, parsed=parsed)
            parsed += file.lines.rejected
            malformed += file.lines.rejected
            trailing += file.lines.trailing_blank
        rows += parsed
        rejected += malformed
    rejects = _rejects(item, spark) if rejected else None
    # Blank lines at a file's end are accounted for, but say nothing about its quality.
    if rejects is not None and rejected - trailing > allowed * (rows - trailing):
        raise TooManyRejected(item.name, rejected=rejected, rows=rows, allowed=allowed, examples=_examples(rejects))
    good = item.frame.where(F.col(quoted(REASON)).isNull()).select(*map(quoted, item.columns))
    return Source(item.file, good, rejects, rows, rejected)


def _examples(rejects: "DataFrame") -> list[str]:
    with mapped_actions("reading the sources"):
        rows = rejects.limit(SHOWN_REJECTS).collect()
    return [f"{row['source_file']}: {row['reason']}: {shorten(row['record'], 80)}" for row in rows]


def _rejects(item: _Parsed, spark: "SparkSession") -> "DataFrame":
    names: dict[str, Any] = {file.path.name: file.name for file in item.staged}
    name_of = F.create_map(*(F.lit(text) for pair in names.items() for text in pair))
    explained = delimited.explain(item.frame, item.columns, item.options).select(
        F.lit(item.name).alias("source"),
        name_of[F.col(quoted(FILE))].alias("source_file"),
        F.col(quoted(REASON)).alias("reason"),
        F.col(quoted(RECORD)).alias("record"),
    )
    return reduce(lambda left, right: left.unionAll(right), [explained, *_unread(item, spark)])


def _unread(item: _Parsed, spark: "SparkSession") -> Iterable["DataFrame"]:
    """Rejects for lines that Spark never saw as rows."""
    if item.options.multi_line:
        return
    for file in item.staged:
        for count, reason, record in (
            (file.lines.blank + file.lines.trailing_blank, "blank line", ""),
            (file.lines.repeated_headers, "repeats the header", file.header or ""),
        ):
            if count:
                texts = (item.name, file.name, reason, record)
                columns = zip(texts, REJECT_COLUMNS, strict=True)
                yield spark.range(count).select(*(F.lit(t).alias(n) for t, n in columns))
