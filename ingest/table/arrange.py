"""Arranges rows in the order of the table: by split, then by a hash of the key, the same in every run."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from pyspark.sql import functions as F

from ingest.cleaning.flow import is_kept
from ingest.spark.columns import hash_of, quoted
from ingest.table.split import split_of
from millrace.config.checks.flow import SPLIT
from millrace.config.sections.ingest import Ingest
from millrace.errors import ConfigError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

HASH: Final = "#hash"
ROWS_PER_PARTITION: Final = 250_000


def partitions_for(rows: int) -> int:
    """Number of partitions for a table; it does not depend on the number of cores. Each gives one file per split."""
    return max(1, -(-rows // ROWS_PER_PARTITION))


def with_split(frame: "DataFrame", ingest: Ingest) -> "DataFrame":
    """Add `SPLIT` and `HASH`, which are null in dropped rows.

    Args:
        frame: Rows after the steps, including dropped ones.
        ingest: Names the key and the split.

    Raises:
        ConfigError: The column of a time split is not a date or timestamp.
    """
    _check_split_column(frame, ingest)
    # The expressions of a dropped row's key may fail.
    frame = frame.withColumn(HASH, F.when(is_kept(), hash_of(ingest.key_columns)))
    return frame.withColumn(SPLIT, F.when(is_kept(), split_of(ingest.split, F.col(quoted(HASH)))))


def arrange(frame: "DataFrame", key: Sequence[str], partitions: int) -> "DataFrame":
    """Partition rows by hash and sort them by split, hash and key, so that two runs write equal files.

    Args:
        frame: Kept rows, with `SPLIT` and `HASH`.
        key: The key's columns.
        partitions: Number of partitions.

    Returns:
        The rows without `HASH`.
    """
    frame = frame.repartition(partitions, F.col(quoted(HASH)))
    return frame.sortWithinPartitions(SPLIT, quoted(HASH), *map(quoted, key)).drop(HASH)


def arrange_again(frame: "DataFrame", key: Sequence[str], partitions: int) -> "DataFrame":
    """Arrange rows of the table, which have no `HASH`."""
    return arrange(frame.withColumn(HASH, hash_of(key)), key, partitions)


def _check_split_column(frame: "DataFrame", ingest: Ingest) -> None:
    if ingest.split.by == "time":
        found = frame.schema[ingest.split.column].dataType.simpleString()
        if found not in ("date", "timestamp"):
            raise ConfigError(f"ingest.split.column: {ingest.split.column} is a {found}, expected a date or timestamp")
