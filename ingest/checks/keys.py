"""Whether the key names each row once, in the new rows and together with those of the table."""

from typing import TYPE_CHECKING, Final

from pyspark.sql import functions as F

from ingest.checks.statistics import Statistics
from ingest.errors import KeyBroken
from ingest.spark.columns import quoted
from ingest.spark.errors import mapped_actions
from ingest.table.arrange import HASH
from millrace.config.checks.flow import SPLIT
from millrace.errors import MAX_EXAMPLES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def check_key(frame: "DataFrame", key: tuple[str, ...], statistics: Statistics) -> None:
    """Hold the key to its promise.

    Args:
        frame: Kept rows, persisted, partitioned by the key's hash.
        key: The key's columns.
        statistics: Of the same rows.

    Raises:
        KeyBroken: A null or a value that stands twice, with examples.
    """
    names = [quoted(name) for name in key]
    if statistics.null_keys:
        condition = F.col(SPLIT).isNull()
        for name in names:
            condition = condition | F.col(name).isNull()
        rows = frame.where(condition).select(*names, SPLIT).limit(MAX_EXAMPLES).collect()
        reason = "rows have a null in the key or in the split's column"
        raise KeyBroken(
            key,
            reason=reason,
            count=statistics.null_keys,
            examples=[str(row.asDict()) for row in rows],
        )
    with mapped_actions("the key"):
        # One number tells keys apart but for accidents, and rows lie by it already: nothing is moved.
        if not frame.groupBy(HASH_COLUMN).count().where("count > 1").limit(1).collect():
            return
        doubles = frame.groupBy(HASH_COLUMN, *names).count().where("count > 1")
        first = doubles.drop(HASH).limit(MAX_EXAMPLES).collect()
        if first:
            count = doubles.agg(F.sum("count")).collect()[0][0]
            examples = [str(row.asDict()) for row in first]
            raise KeyBroken(key, reason="rows share their key with another", count=count, examples=examples)


HASH_COLUMN: Final = quoted(HASH)


def check_new_keys(frame: "DataFrame", table: "DataFrame", key: tuple[str, ...]) -> None:
    """Refuse rows whose key the table holds already.

    Args:
        frame: Kept rows, persisted; their own keys are unique.
        table: The rows that they would be added to.
        key: The key's columns.

    Raises:
        KeyBroken: With examples.
    """
    names = [quoted(name) for name in key]
    with mapped_actions("the key"):
        doubles = table.select(*names).join(frame.select(*names), list(key), "left_semi")
        first = doubles.limit(MAX_EXAMPLES).collect()
        if first:
            examples = [str(row.asDict()) for row in first]
            reason = "rows have a key that the table holds already"
            raise KeyBroken(key, reason=reason, count=doubles.count(), examples=examples)
