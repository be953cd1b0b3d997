"""Checks that the key is unique, in the new rows and together with the rows of the table."""

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

HASH_COLUMN: Final = quoted(HASH)


def check_key(frame: "DataFrame", key: tuple[str, ...], statistics: Statistics) -> None:
    """Check that the key is unique and never null.

    Args:
        frame: Kept rows, persisted, partitioned by the key's hash.
        key: The key's columns.
        statistics: Figures about the same rows.

    Raises:
        KeyBroken: A key is null or not unique; the message has examples.
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
        # Rows are partitioned by the hash already, so this moves no data; equal keys have equal hashes.
        if not frame.groupBy(HASH_COLUMN).count().where("count > 1").limit(1).collect():
            return
        repeated = frame.groupBy(HASH_COLUMN, *names).count().where("count > 1")
        first = repeated.drop(HASH).limit(MAX_EXAMPLES).collect()
        if first:
            count = repeated.agg(F.sum("count")).collect()[0][0]
            examples = [str(row.asDict()) for row in first]
            raise KeyBroken(key, reason="rows have a key that is not unique", count=count, examples=examples)


def check_new_keys(frame: "DataFrame", table: "DataFrame", key: tuple[str, ...]) -> None:
    """Refuse rows whose key is already in the table.

    Args:
        frame: Kept rows, persisted; their own keys are unique.
        table: The rows of the table.
        key: The key's columns.

    Raises:
        KeyBroken: A key is already in the table; the message has examples.
    """
    names = [quoted(name) for name in key]
    with mapped_actions("the key"):
        repeated = table.select(*names).join(frame.select(*names), list(key), "left_semi")
        first = repeated.limit(MAX_EXAMPLES).collect()
        if first:
            examples = [str(row.asDict()) for row in first]
            reason = "rows have a key that is already in the table"
            raise KeyBroken(key, reason=reason, count=repeated.count(), examples=examples)
