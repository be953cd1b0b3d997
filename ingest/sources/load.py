"""Loads staged sources: parses and counts their rows, and checks the counts.

A source is parsed, persisted and counted in a job of its own (`load_sources`), or parsed and counted by the job that
uses its rows (`ReadOnce`).
"""

import contextlib
import logging
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from ingest.errors import LinesLost, SourceEmpty, TooManyRejected
from ingest.readers.raw import rejected_rows
from ingest.sources.rejects import group_rejects, rejects_of
from ingest.sources.snapshot import SourceSnapshot
from ingest.sources.staged import StagedSource
from ingest.spark.columns import FILE, REASON, RECORD, ddl, quoted
from ingest.spark.errors import mapped_actions
from ingest.spark.observed import Observed
from millrace.config import Config
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

    @property
    def good(self) -> int:
        """Number of well-formed rows."""
        return self.rows - self.rejected

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
    staged: Mapping[str, StagedSource], spark: "SparkSession", stack: contextlib.ExitStack
) -> dict[str, LoadedSource]:
    """Parse, persist and count sources, in one Spark job for all of them.

    Args:
        staged: Result of `stage_sources`; the staged files must exist as long as the frames.
        spark: The session.
        stack: Unpersists the frames when it closes.

    Raises:
        DataRejected: Spark lost lines, or a file changed.
    """
    if not staged:
        return {}
    started = time.monotonic()
    frames = {name: source.parse(spark) for name, source in staged.items()}
    fail_here("ingest.before_reading")
    for frame in frames.values():
        frame.persist()
        stack.callback(frame.unpersist)
    with mapped_actions("reading the sources"):
        counts = _count(frames)
    loaded = {}
    for name, source in staged.items():
        totals = _totals(source, counts)
        rejected = rejected_rows(frames[name]) if totals[1] else None
        loaded[name] = _loaded(source, _good_rows(source, frames[name]), totals, rejected)
    total = sum(each.rows for each in loaded.values())
    logger.info("read %d rows of %d sources in %.1f s", total, len(loaded), time.monotonic() - started)
    return loaded


def check_not_empty(staged: Mapping[str, StagedSource], *, except_for: str | None = None) -> None:
    """Check that every source has rows, before any row is parsed.

    Raises:
        SourceEmpty: One has none.
    """
    for name, source in staged.items():
        if source.rows == 0 and name != except_for:
            raise SourceEmpty(name, source.shown)


class ReadOnce:
    """A source whose rows are counted by the job that uses them.

    The number of its rows must be known from its lines or footers (`Reader.counts_lines`).

    Attributes:
        frame: Good rows, with exactly the declared columns.
    """

    def __init__(self, staged: StagedSource, spark: "SparkSession") -> None:
        self._staged, self._spark = staged, spark
        parsed = staged.parse(spark, brief=True).select(*map(quoted, (*staged.columns, FILE, REASON)))
        is_rejected = F.col(quoted(REASON)).isNotNull()
        file = F.when(is_rejected, F.col(quoted(FILE)))
        figures = {"rows": F.count(F.lit(1)), "rejected": F.count_if(is_rejected)}
        self._observed = Observed(parsed, {**figures, "first": F.min(file), "last": F.max(file)})
        self.frame = _good_rows(staged, self._observed.frame)
        fail_here("ingest.before_reading")

    def finish(self, stack: contextlib.ExitStack) -> LoadedSource:
        """Check the counts, and parse the files with rejected rows again, to collect these.

        To be called after a job has used the rows. Without such a job, or if the counts do not agree, the rows are
        counted here.

        Args:
            stack: Unpersists the rejects when it closes.

        Raises:
            DataRejected: Spark lost lines, or a file changed.
        """
        staged, figures = self._staged, self._observed.get()
        first, last = "", chr(0x10FFFF)
        if figures is not None and figures["rows"] == sum(file.lines.rows for file in staged.files):
            totals = (figures["rows"], figures["rejected"])
            first, last = figures["first"] or "", figures["last"] or ""
        else:
            with mapped_actions("reading the sources"):
                totals = _totals(staged, _count({staged.name: staged.parse(self._spark)}))
        rejected = None
        if totals[1]:
            rejected = rejected_rows(staged.between(first, last).parse(self._spark)).persist()
            stack.callback(rejected.unpersist)
        return _loaded(staged, self.frame, totals, rejected)


def _good_rows(staged: StagedSource, frame: "DataFrame") -> "DataFrame":
    return frame.where(F.col(quoted(REASON)).isNull()).select(*map(quoted, staged.columns))


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


def _totals(staged: StagedSource, counts: Mapping[tuple[str, str], tuple[int, int]]) -> tuple[int, int]:
    """The numbers of parsed and of rejected rows, after a check that every line of every file was parsed."""
    rows = rejected = 0
    for file in staged.files:
        parsed, malformed = counts.get((staged.name, file.file), (0, 0))
        if staged.reader.counts_lines and parsed != file.lines.rows:
            raise LinesLost(file.name, lines=file.lines.rows, parsed=parsed)
        rows, rejected = rows + parsed, rejected + malformed
    return rows, rejected


def _loaded(
    staged: StagedSource, frame: "DataFrame", totals: tuple[int, int], rejected: "DataFrame | None"
) -> LoadedSource:
    """Add the lines that Spark did not parse, such as blank ones.

    Args:
        staged: The source.
        frame: Its good rows.
        totals: Numbers of parsed and of rejected rows.
        rejected: The rejected rows as `rejected_rows` selects them, persisted; None if there are none.
    """
    staged.check_unchanged()
    lines = [file.lines for file in staged.files] if staged.reader.counts_lines else []
    left_out = sum(each.rejected for each in lines) + sum(len(file.long_lines) for file in staged.files if lines)
    rows, malformed = (total + left_out for total in totals)
    spark = frame.sparkSession
    if rejected is None and malformed:
        rejected = spark.createDataFrame([], ddl(dict.fromkeys((FILE, REASON, RECORD), "string")))
    return LoadedSource(
        staged.snapshot,
        frame,
        None if rejected is None else rejects_of(staged, rejected, spark),
        rows,
        malformed,
        sum(each.trailing_blank for each in lines),
        staged.bad_files,
        staged.dropped,
    )


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
            show=f"millrace tables show {config.product}/{REJECTS} --rows 20 --store {shlex.quote(config.store.root)}",
        )
