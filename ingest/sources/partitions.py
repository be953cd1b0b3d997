"""Adds the columns whose values come from the names of folders, such as ``dt=2024-01-31``."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from ingest.grammar.parse import mismatch, text_of, value_of
from ingest.spark.columns import FILE, REASON, RECORD, quoted
from millrace.config.sections.columns import Column

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_FROM = "#from"


def add_partitions(
    frame: "DataFrame",
    spark: "SparkSession",
    columns: Mapping[str, Column],
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
    table = spark.createDataFrame(rows, ", ".join(f"{quoted(name)} string" for name in (_FROM, *texts)))
    joined = frame.join(F.broadcast(table), F.col(quoted(FILE)) == F.col(quoted(_FROM)), "left")
    whole = F.to_json(F.struct(*(quoted(name) for name in columns if name not in names), *map(quoted, texts)))
    found = {name: text_of(F.col(quoted(_text_of(name))), columns[name]) for name in names}
    typed = {name: value_of(text, columns[name]) for name, text in found.items()}
    where = "', the name of a folder,"
    reasons = [mismatch(name, columns[name], found[name], typed[name], where) for name in names]
    reason = F.coalesce(F.col(quoted(REASON)), *reasons)
    record = F.when(reason.isNotNull(), F.coalesce(F.col(quoted(RECORD)), whole))
    selected = [typed[name].alias(name) if name in typed else F.col(quoted(name)) for name in columns]
    return joined.select(*selected, quoted(FILE), reason.alias(REASON), record.alias(RECORD))


def _text_of(name: str) -> str:
    return f"#{name}"
