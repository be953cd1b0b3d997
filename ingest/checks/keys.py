"""Checks that the key is unique, in the new rows and together with the rows of the table."""

from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from ingest.checks.footers import Footers
from ingest.checks.statistics import Statistics
from ingest.errors import KeyBroken
from ingest.spark.columns import hash_of, quoted
from ingest.spark.errors import mapped_actions
from millrace.config.checks.flow import SPLIT
from millrace.config.sections.ingest import HashSplit, TimeSplit
from millrace.errors import MAX_EXAMPLES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def check_key(frame: "DataFrame", key: tuple[str, ...], statistics: Statistics, *, is_unique: bool = False) -> None:
    """Check that the key is unique and never null.

    Args:
        frame: Kept rows.
        key: The key's columns.
        statistics: Figures about the same rows.
        is_unique: Whether the key is known to be unique if it is not null.

    Raises:
        KeyBroken: A key is null or not unique; the message has examples.
    """
    names = [quoted(name) for name in key]
    if statistics.null_keys:
        condition = F.col(SPLIT).isNull()
        for name in names:
            condition = condition | F.col(name).isNull()
        with mapped_actions("the key"):
            examples = _examples(frame.where(condition), (*key, SPLIT))
        reason = "rows have a null in the key or in the split's column"
        hint = "filter these rows, or fill the column in a derive step"
        raise KeyBroken(key, reason=reason, count=statistics.null_keys, examples=examples, hint=hint)
    if is_unique:
        return
    with mapped_actions("the key"):
        # One number for each row instead of its key; equal keys have equal hashes.
        hashes = frame.select(hash_of(key).alias("hash"))
        if not hashes.groupBy("hash").count().where("count > 1").limit(1).collect():
            return
        repeated = frame.groupBy(*names).count().where("count > 1")
        examples = _examples(repeated, (*key, "count"))
        if examples:
            count = repeated.agg(F.sum("count")).collect()[0][0]
            hint = "add columns to the key until it is unique, or filter the duplicate rows"
            raise KeyBroken(key, reason="rows have a key that is not unique", count=count, examples=examples, hint=hint)


def has_unique_keys(spark: "SparkSession", split: HashSplit | TimeSplit, footers: Footers | None) -> bool:
    """Whether equal keys would lie side by side in the files, and none do.

    Equal keys have equal hashes, so they are in one partition and, unless the split depends on another column, in one
    split. A partition has one file for each split, unless Spark is told to make smaller files. The hash is that of a
    text, and in other zones than UTC two times can have the same text.
    """
    if footers is None or split.by != "hash" or spark.conf.get("spark.sql.session.timeZone") != "UTC":
        return False
    most = spark.conf.get("spark.sql.files.maxRecordsPerFile", "0")
    return str(most) in ("0", "-1") and not footers.has_repeated_keys


def check_new_keys(frame: "DataFrame", table: "DataFrame", key: tuple[str, ...]) -> None:
    """Refuse rows whose key is already in the table.

    Args:
        frame: Kept rows; their own keys are unique.
        table: The rows of the table.
        key: The key's columns.

    Raises:
        KeyBroken: A key is already in the table; the message has examples.
    """
    names = [quoted(name) for name in key]
    with mapped_actions("the key"):
        repeated = table.select(*names).join(frame.select(*names), list(key), "left_semi")
        examples = _examples(repeated, key)
        if examples:
            reason = "rows have a key that is already in the table"
            hint = "take the files out that were delivered again under other names, or rebuild the table with --full; "
            hint += "if they are corrections, declare ingest.upsert"
            raise KeyBroken(key, reason=reason, count=repeated.count(), examples=examples, hint=hint)


def _examples(frame: "DataFrame", names: tuple[str, ...]) -> list[str]:
    """Some rows as text, such as ``day=2024-02-29, site=a``; converted by Spark, because Python has fewer dates."""
    texts = [F.coalesce(F.col(quoted(name)).cast("string"), F.lit("null")) for name in names]
    rows = frame.select(*(text.alias(name) for name, text in zip(names, texts, strict=True))).limit(MAX_EXAMPLES)
    return [", ".join(f"{name}={value}" for name, value in zip(names, row, strict=True)) for row in rows.collect()]
