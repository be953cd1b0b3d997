"""Adds the columns whose values come from the names of folders, such as ``dt=2024-01-31``."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from ingest.spark.columns import FILE, REASON, RECORD, quoted

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession


def add_partitions(
    frame: "DataFrame",
    spark: "SparkSession",
    columns: Mapping[str, str],
    values: Mapping[str, Mapping[str, str | None]],
) -> "DataFrame":
    """Add the values from the folders of its file to every row; a value that does not fit its type rejects the row.

    Args:
        frame: The rows from a reader.
        spark: The session.
        columns: All declared columns, in order.
        values: For each file, the text by column.
    """
    names = [name for name in columns if name not in frame.columns]
    if not names:
        return frame
    rows = [(file, *(found.get(name) for name in names)) for file, found in values.items()]
    texts = [_text_of(name) for name in names]
    table = spark.createDataFrame(rows, ", ".join(f"{quoted(name)} string" for name in ("#from", *texts)))
    joined = frame.join(F.broadcast(table), F.col(quoted(FILE)) == F.col("`#from`"), "left")
    reason = F.coalesce(F.col(quoted(REASON)), *(_mismatch(name, columns[name]) for name in names))
    whole = F.to_json(F.struct(*(quoted(name) for name in columns if name not in names), *map(quoted, texts)))
    record = F.when(reason.isNotNull(), F.coalesce(F.col(quoted(RECORD)), whole))
    cast = [_cast(name, kind).alias(name) if name in names else F.col(quoted(name)) for name, kind in columns.items()]
    return joined.select(*cast, quoted(FILE), reason.alias(REASON), record.alias(RECORD))


def _text_of(name: str) -> str:
    return f"#{name}"


def _cast(name: str, kind: str) -> "Column":
    return F.expr(f"try_cast({quoted(_text_of(name))} AS {kind})")


def _mismatch(name: str, kind: str) -> "Column":
    text = F.col(quoted(_text_of(name)))
    shown = F.concat(F.lit(f"column '{name}': '"), text, F.lit(f"', the name of a folder, is not of type {kind}"))
    return F.when(text.isNotNull() & _cast(name, kind).isNull(), shown)
