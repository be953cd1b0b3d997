"""Arranges rows in the order of the table: by split, then by a hash of the key, the same in every run."""

from collections.abc import Collection, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Final

from pyspark.sql import functions as F

from ingest.cleaning.flow import is_kept
from ingest.spark.columns import hash_of, quoted
from ingest.spark.ordered import sort_by
from ingest.table.split import SPLITS, split_of
from millrace.config.checks.flow import SPLIT
from millrace.config.sections.ingest import Ingest
from millrace.errors import ConfigError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

HASH: Final = "#hash"
_PLACE: Final = "#place"
_SPLIT_BITS: Final = 61
"""The place of a row is the rank of its split, and this many bits of its hash behind it."""
ROWS_PER_PARTITION: Final = 250_000


def partitions_for(rows: int) -> int:
    """Number of partitions for a table; it does not depend on the number of cores. Each gives one file per split."""
    return max(1, -(-rows // ROWS_PER_PARTITION))


def can_arrange_first(ingest: Ingest, columns: Collection[str]) -> bool:
    """Whether the place of a row is known before the steps, and the steps only add columns to it.

    Narrow rows are then sorted, and joined afterwards.

    Args:
        ingest: The steps.
        columns: The columns of the base source.
    """
    needed = {*ingest.key_columns, *([ingest.split.column] if ingest.split.by == "time" else [])}
    changed = {name for step in ingest.steps for name in (*(step.derive or {}), *(step.rename or {}))}
    changed |= {name for step in ingest.steps for name in (*(step.drop or ()), *(step.rename or {}).values())}
    has_joins = any(step.join for step in ingest.steps)
    adds_only = not any(step.call or step.dedupe or step.aggregate for step in ingest.steps)
    return has_joins and adds_only and needed <= set(columns) and not needed & changed


def with_split(frame: "DataFrame", ingest: Ingest, *, is_marked: bool = True) -> "DataFrame":
    """Add `SPLIT` and `HASH`, which are null in dropped rows.

    Args:
        frame: Rows after the steps, including dropped ones.
        ingest: Names the key and the split.
        is_marked: Whether dropped rows are marked.

    Raises:
        ConfigError: The column of a time split is not a date or timestamp.
    """
    _check_split_column(frame, ingest)
    if not is_marked:
        # Rows without a key are dropped by a later step, or refused. They are spread, or one task would get them all.
        others = F.xxhash64(*map(quoted, frame.columns))
        frame = frame.withColumn(
            HASH, F.when(_has_key(ingest.key_columns), hash_of(ingest.key_columns)).otherwise(others)
        )
        return frame.withColumn(SPLIT, split_of(ingest.split, F.col(quoted(HASH))))
    # The expressions of a dropped row's key may fail.
    frame = frame.withColumn(HASH, F.when(is_kept(), hash_of(ingest.key_columns)))
    return frame.withColumn(SPLIT, F.when(is_kept(), split_of(ingest.split, F.col(quoted(HASH)))))


def arrange(frame: "DataFrame", partitions: int) -> "DataFrame":
    """Partition rows by hash and sort them by split and hash, so that two runs write equal files.

    Only the first 61 bits of the hash count. Two of ten million rows in one split share them with a probability of 1 to
    46,000; the order of such rows may differ from run to run.

    Args:
        frame: Kept rows, with `SPLIT` and `HASH`.
        partitions: Number of partitions.
    """
    frame = frame.repartition(partitions, F.col(quoted(HASH)))
    split, ranks = F.col(SPLIT), list(enumerate(sorted(SPLITS)))
    rank = reduce(lambda other, pair: F.when(split == pair[1], F.lit(pair[0])).otherwise(other), ranks, F.lit(None))
    place = rank.cast("bigint") * F.lit(1 << _SPLIT_BITS) + F.shiftright(quoted(HASH), 64 - _SPLIT_BITS)
    return sort_by(frame.withColumn(_PLACE, place), _PLACE, SPLIT).drop(_PLACE)


def arrange_again(frame: "DataFrame", key: Sequence[str], partitions: int) -> "DataFrame":
    """Arrange rows of the table, which have no `HASH`."""
    return arrange(frame.withColumn(HASH, hash_of(key)), partitions).drop(HASH)


def _has_key(key: Sequence[str]) -> "Column":
    return reduce(lambda known, name: known & F.col(quoted(name)).isNotNull(), key, F.lit(True))


def _check_split_column(frame: "DataFrame", ingest: Ingest) -> None:
    if ingest.split.by == "time":
        found = frame.schema[ingest.split.column].dataType.simpleString()
        if found not in ("date", "timestamp"):
            raise ConfigError(f"ingest.split.column: {ingest.split.column} is a {found}, expected a date or timestamp")
