"""Declared sources as rows: staged, checked file by file, parsed, persisted and counted."""

import contextlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, Final

from pyspark.sql import functions as F

from ingest.errors import LinesLost, SourceEmpty, TooManyRejected
from ingest.sources.files import SourceSnapshot
from ingest.sources.rejects import rejects_of
from ingest.sources.staged import StagedSource
from ingest.spark.columns import FILE, REASON, quoted
from ingest.spark.errors import mapped_actions
from millrace.config import Product
from millrace.errors import shorten
from millrace.failpoints import fail_here

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

logger = logging.getLogger(__name__)

SHOWN_REJECTS: Final = 5


@dataclass(frozen=True)
class Source:
    """A source's rows.

    Attributes:
        snapshot: Where they come from.
        frame: Good rows, exactly the declared columns.
        rejects: Malformed and blank rows, in `REJECT_COLUMNS`; None where there are none.
        rows: All rows, malformed and blank ones too.
        rejected: Malformed and blank ones.
        bad_files: Files that were left out, and why.
        dropped: Columns that were left out.
    """

    snapshot: SourceSnapshot
    frame: "DataFrame"
    rejects: "DataFrame | None"
    rows: int
    rejected: int
    bad_files: Mapping[str, str] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()

    def summary(self) -> dict[str, object]:
        """What the commit and the run's record say of it."""
        files = self.snapshot.files
        told: dict[str, object] = {"file": files[0].name} if len(files) == 1 else {"files": len(files)}
        told |= {"sha256": self.snapshot.sha256, "rows": self.rows, "rejected": self.rejected}
        if self.bad_files:
            told["bad_files"] = dict(self.bad_files)
        if self.dropped:
            told["dropped_columns"] = list(self.dropped)
        return told


def load_sources(
    product: Product,
    opened: Mapping[str, StagedSource],
    spark: "SparkSession",
    stack: contextlib.ExitStack,
    *,
    allow_empty: bool = False,
) -> dict[str, Source]:
    """Parse, persist and count the used sources.

    Args:
        product: The product.
        opened: What `open_sources` returned; the staged files must live as long as the frames.
        spark: The session.
        stack: Unpersists the frames in the end.
        allow_empty: Whether the base source may hold no rows.

    Raises:
        DataRejected: The share of malformed rows, or lines that got lost.
        SourceEmpty: A source without rows.
    """
    started = time.monotonic()
    for name, item in opened.items():
        if item.rows == 0 and not (allow_empty and name == product.config.ingest.base):
            raise SourceEmpty(name, item.shown)
    frames = {name: item.parse(spark) for name, item in opened.items()}
    fail_here("ingest.before_reading")
    for frame in frames.values():
        frame.persist()
        stack.callback(frame.unpersist)
    with mapped_actions("reading the sources"):
        counts = _count(frames)
    loaded = {}
    for name, item in opened.items():
        item.check_unchanged()
        loaded[name] = _account(item, frames[name], counts, product.config.ingest.max_rejected, spark)
    total = sum(source.rows for source in loaded.values())
    logger.info("read %d rows of %d sources in %.1f s", total, len(loaded), time.monotonic() - started)
    return loaded


def _count(frames: Mapping[str, "DataFrame"]) -> dict[tuple[str, str], tuple[int, int]]:
    """Rows and malformed rows by source and staged file: one job for all of them."""
    marked = [
        frame.select(
            F.lit(name).alias("source"),
            F.col(quoted(FILE)).alias("file"),
            F.col(quoted(REASON)).isNotNull().alias("rejected"),
        )
        for name, frame in frames.items()
    ]
    rows = reduce(lambda left, right: left.unionAll(right), marked).groupBy("source", "file")
    counts = rows.agg(F.count(F.lit(1)).alias("rows"), F.count_if("rejected").alias("rejected"))
    return {(row[0], row[1]): (row[2], row[3]) for row in counts.collect()}


def _account(
    item: StagedSource,
    frame: "DataFrame",
    counts: dict[tuple[str, str], tuple[int, int]],
    allowed: float,
    spark: "SparkSession",
) -> Source:
    rows = rejected = trailing = 0
    for file in item.staged:
        parsed, malformed = counts.get((item.name, file.file), (0, 0))
        if item.reader.counts_lines:
            if parsed != file.lines.rows:
                raise LinesLost(file.name, lines=file.lines.rows, parsed=parsed)
            left_out = file.lines.rejected + len(file.long_lines)
            parsed, malformed = parsed + left_out, malformed + left_out
            trailing += file.lines.trailing_blank
        rows += parsed
        rejected += malformed
    rejects = rejects_of(item, frame, spark) if rejected else None
    # Blank lines at a file's end are accounted for, but say nothing about its quality.
    if rejects is not None and rejected - trailing > allowed * (rows - trailing):
        raise TooManyRejected(item.name, rejected=rejected, rows=rows, allowed=allowed, examples=_examples(rejects))
    good = frame.where(F.col(quoted(REASON)).isNull()).select(*map(quoted, item.columns))
    return Source(item.snapshot, good, rejects, rows, rejected, item.bad_files, item.dropped)


def _examples(rejects: "DataFrame") -> list[str]:
    with mapped_actions("reading the sources"):
        rows = rejects.limit(SHOWN_REJECTS).collect()
    return [f"{row['source_file']}: {row['reason']}: {shorten(row['record'], 80)}" for row in rows]
