"""Arranges rows in the order of the table: by split, then by a hash of the key, the same in every run."""

from typing import TYPE_CHECKING, Final

from pyspark.sql import functions as F
from pyspark.sql.types import AtomicType

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


def arrange(frame: "DataFrame", ingest: Ingest, rows: int) -> "DataFrame":
    """Add `SPLIT` and `HASH`, partition the rows by the hash and sort each partition.

    Args:
        frame: Rows after the steps, including dropped ones.
        ingest: Names the key and the split.
        rows: Approximate number of rows.

    Raises:
        ConfigError: The column of a time split is not a date or timestamp.
    """
    key_hash = hash_of(ingest.key_columns)
    # Dropped rows may have no key. The hash of null keys would put them all into one partition.
    atoms = [quoted(f.name) for f in frame.schema if isinstance(f.dataType, AtomicType)]
    row_hash = F.when(is_kept(), key_hash).otherwise(F.xxhash64(*atoms))
    _check_split_column(frame, ingest)
    frame = frame.withColumn(HASH, row_hash)
    split = split_of(ingest.split, F.col(quoted(HASH)))
    frame = frame.withColumn(SPLIT, F.when(is_kept(), split))
    return sort(frame, ingest.key_columns, partitions_for(rows))


def sort(frame: "DataFrame", key: tuple[str, ...], partitions: int) -> "DataFrame":
    """Partition rows by hash and sort them by split, hash and key, so that two runs write equal files."""
    frame = frame.repartition(partitions, F.col(quoted(HASH)))
    return frame.sortWithinPartitions(SPLIT, quoted(HASH), *map(quoted, key))


def _check_split_column(frame: "DataFrame", ingest: Ingest) -> None:
    if ingest.split.by == "time":
        found = frame.schema[ingest.split.column].dataType.simpleString()
        if found not in ("date", "timestamp"):
            raise ConfigError(f"ingest.split.column: {ingest.split.column} is a {found}, expected a date or timestamp")
