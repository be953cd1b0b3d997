"""Loads staged sources: parses, persists and counts their rows, and checks the counts."""

import contextlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from ingest.errors import LinesLost, SourceEmpty, TooManyRejected
from ingest.sources.rejects import group_rejects, rejects_of
from ingest.sources.snapshot import SourceSnapshot
from ingest.sources.staged import StagedSource
from ingest.spark.columns import FILE, REASON, quoted
from ingest.spark.errors import mapped_actions
from millrace.config import Config, Product
from millrace.failpoints import fail_here
from millrace.tables.versions import REJECTS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedSource:
    """The rows of a source.

    Attributes:
        snapshot: The files that the rows come from.
        frame: Good rows, with exactly the declared columns.
        rejects: Malformed and blank rows, in `REJECT_COLUMNS`; None if there are none.
        rows: Number of all rows, including malformed and blank ones.
        rejected: Number of malformed and blank rows.
        trailing: Number of blank lines at the ends of files among these.
        bad_files: Files that were left out, each with the reason.
        dropped: Columns that were left out.
    """

    snapshot: SourceSnapshot
    frame: "DataFrame"
    rejects: "DataFrame | None"
    rows: int
    rejected: int
    trailing: int = 0
    bad_files: Mapping[str, str] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()

    def summary(self) -> dict[str, object]:
        """The description of this source in the commit and in the run record."""
        files = self.snapshot.files
        summary: dict[str, object] = {"file": files[0].name} if len(files) == 1 else {"files": len(files)}
        summary |= {"sha256": self.snapshot.sha256, "rows": self.rows, "rejected": self.rejected}
        if self.bad_files:
            summary["bad_files"] = dict(self.bad_files)
        if self.dropped:
            summary["dropped_columns"] = list(self.dropped)
        return summary


def load_sources(
    product: Product,
    staged: Mapping[str, StagedSource],
    spark: "SparkSession",
    stack: contextlib.ExitStack,
    *,
    allow_empty: bool = False,
) -> dict[str, LoadedSource]:
    """Parse, persist and count the used sources.

    Args:
        product: The product.
        staged: Result of `stage_sources`; the staged files must exist as long as the frames.
        spark: The session.
        stack: Unpersists the frames when it closes.
        allow_empty: Whether the base source may hold no rows.

    Raises:
        DataRejected: Spark lost lines, or a file changed.
        SourceEmpty: A source has no rows.
    """
    started = time.monotonic()
    for name, source in staged.items():
        if source.rows == 0 and not (allow_empty and name == product.config.ingest.base):
            raise SourceEmpty(name, source.shown)
    frames = {name: source.parse(spark) for name, source in staged.items()}
    fail_here("ingest.before_reading")
    for frame in frames.values():
        frame.persist()
        stack.callback(frame.unpersist)
    with mapped_actions("reading the sources"):
        counts = _count(frames)
    loaded = {}
    for name, source in staged.items():
        source.check_unchanged()
        loaded[name] = _check_counts(source, frames[name], counts, spark)
    total = sum(each.rows for each in loaded.values())
    logger.info("read %d rows of %d sources in %.1f s", total, len(loaded), time.monotonic() - started)
    return loaded


def _count(frames: Mapping[str, "DataFrame"]) -> dict[tuple[str, str], tuple[int, int]]:
    """Count rows and malformed rows by source and staged file, in one Spark job."""
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


def _check_counts(
    staged: StagedSource,
    frame: "DataFrame",
    counts: dict[tuple[str, str], tuple[int, int]],
    spark: "SparkSession",
) -> LoadedSource:
    rows = rejected = trailing = 0
    for file in staged.files:
        parsed, malformed = counts.get((staged.name, file.file), (0, 0))
        if staged.reader.counts_lines:
            if parsed != file.lines.rows:
                raise LinesLost(file.name, lines=file.lines.rows, parsed=parsed)
            left_out = file.lines.rejected + len(file.long_lines)
            parsed, malformed = parsed + left_out, malformed + left_out
            trailing += file.lines.trailing_blank
        rows += parsed
        rejected += malformed
    rejects = rejects_of(staged, frame, spark) if rejected else None
    good = frame.where(F.col(quoted(REASON)).isNull()).select(*map(quoted, staged.columns))
    return LoadedSource(staged.snapshot, good, rejects, rows, rejected, trailing, staged.bad_files, staged.dropped)


def check_rejected(config: Config, sources: Mapping[str, LoadedSource]) -> None:
    """Check that no source has more malformed rows than the product allows.

    Raises:
        TooManyRejected: The first source that has; the message groups the rows by reason.
    """
    allowed = config.ingest.max_rejected
    for name, source in sources.items():
        # Blank lines at the end of a file are counted, but they are no sign of bad data.
        if source.rejects is None or source.rejected - source.trailing <= allowed * (source.rows - source.trailing):
            continue
        raise TooManyRejected(
            name,
            rejected=source.rejected,
            rows=source.rows,
            allowed=allowed,
            reasons=group_rejects(source.rejects, config.contract.show_values),
            table=f"{config.product}/{REJECTS}",
        )
