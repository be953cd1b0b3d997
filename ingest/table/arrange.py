"""Puts rows in the order that the table keeps: by split, then by a hash of the key, the same in every run."""

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
    """Parts of a table; each becomes one file a split, independent of how many cores there are."""
    return max(1, -(-rows // ROWS_PER_PARTITION))


def arrange(frame: "DataFrame", ingest: Ingest, rows: int) -> "DataFrame":
    """Add `SPLIT` and `HASH`, and bring rows into partitions by the hash, sorted inside.

    Args:
        frame: Rows after the steps, dropped ones too.
        ingest: Names the key and the split.
        rows: How many there are, about.

    Raises:
        ConfigError: The split's column is no time.
    """
    key_hash = hash_of(ingest.key)
    # Dropped rows may have no key; by the hash of a null they would all meet in one partition.
    atoms = [quoted(f.name) for f in frame.schema if isinstance(f.dataType, AtomicType)]
    row_hash = F.when(is_kept(), key_hash).otherwise(F.xxhash64(*atoms))
    _check_split_column(frame, ingest)
    frame = frame.withColumn(HASH, row_hash)
    split = split_of(ingest.split, F.col(quoted(HASH)))
    frame = frame.withColumn(SPLIT, F.when(is_kept(), split))
    return sort(frame, ingest.key, partitions_for(rows))


def sort(frame: "DataFrame", key: tuple[str, ...], partitions: int) -> "DataFrame":
    """Rows by hash into partitions; inside by split, hash and key, so that two runs write equal files."""
    frame = frame.repartition(partitions, F.col(quoted(HASH)))
    return frame.sortWithinPartitions(SPLIT, quoted(HASH), *map(quoted, key))


def _check_split_column(frame: "DataFrame", ingest: Ingest) -> None:
    if ingest.split.by == "time":
        found = frame.schema[ingest.split.column].dataType.simpleString()
        if found not in ("date", "timestamp"):
            raise ConfigError(f"ingest.split.column: {ingest.split.column} is a {found}, expected a date or timestamp")
