"""Divides rows into train, validation and test; the split of a row depends only on this row."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from pyspark.sql import functions as F

from ingest.spark.columns import quoted
from millrace.config.sections.ingest import HashSplit, TimeSplit

if TYPE_CHECKING:
    from pyspark.sql import Column

SPLITS: Final = ("train", "validation", "test")
BUCKETS: Final = 1_000_000


def split_of(section: HashSplit | TimeSplit, key_hash: "Column") -> "Column":
    """The name of a row's split; null if the column of a time split is null."""
    if isinstance(section, TimeSplit):
        validation, test = _parse_time(section.validation_from), _parse_time(section.test_from)
        moment = F.col(quoted(section.column)).cast("timestamp")
        return (
            F.when(moment >= F.lit(test), F.lit("test"))
            .when(moment >= F.lit(validation), F.lit("validation"))
            .when(moment.isNotNull(), F.lit("train"))
        )
    test_end = round(section.test * BUCKETS)
    validation_end = test_end + round(section.validation * BUCKETS)
    bucket = F.pmod(key_hash, F.lit(BUCKETS))
    return (
        F.when(bucket < test_end, F.lit("test"))
        .when(bucket < validation_end, F.lit("validation"))
        .otherwise(F.lit("train"))
    )


def _parse_time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
