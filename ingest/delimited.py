"""Parses staged text files with Spark so that each line ends up as a row or as a reject with a reason.

Lines are read as text and parsed by ``from_csv``, so that the raw text of every row is at hand. Where a value may span
lines only Spark's CSV reader can tell records apart; what is left of the raw text is then the parsed values.
"""

from typing import TYPE_CHECKING, Final

from pyspark.sql import functions as F

from ingest.lines import BLANK
from ingest.options import ReaderOptions
from ingest.staging import StagedFile

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

# No user's column can have such a name (see COLUMN_PATTERN in pipelines.config.sections).
FILE: Final = "#file"
RECORD: Final = "#record"
REASON: Final = "#reason"
_CORRUPT: Final = "#corrupt"

MALFORMED: Final = "malformed"
NOT_FINITE: Final = "not finite"
NOT_UTF8: Final = "bytes that are not UTF-8"
SHOWN_VALUE: Final = 80
"""Characters of an offending value that a reason quotes."""


def quoted(name: str) -> str:
    """A column's name as Spark SQL takes it, whatever is in it."""
    return "`" + name.replace("`", "``") + "`"


def parse(
    spark: "SparkSession",
    files: list[StagedFile],
    columns: dict[str, str],
    options: ReaderOptions,
) -> "DataFrame":
    """Parse files into their declared columns.

    The caller must persist the result before it filters: Spark parses only the columns that a query asks for, and what
    is not parsed is not found malformed.

    Returns:
        The declared columns, `FILE`, and for rows that are to be rejected `REASON` and `RECORD`; these two are null in
        good rows.
    """
    schema = f"{_ddl(columns)}, {quoted(_CORRUPT)} string"
    settings = {**options.spark, "mode": "PERMISSIVE", "columnNameOfCorruptRecord": _CORRUPT}
    paths = [file.path.as_uri() for file in files]
    if options.multi_line:
        parsed = _records(spark, paths, schema, {**settings, "header": str(options.header)})
    else:
        parsed = _lines(spark, files).withColumn("row", F.from_csv("text", schema, settings))
    reason = _reason(columns, all(file.lines.is_utf8 for file in files))
    rows = parsed.select("row.*", F.col("file").alias(FILE), reason.alias(REASON), "text")
    record = F.when(F.col(quoted(REASON)).isNotNull(), F.expr("make_valid_utf8(text)"))
    kept = [quoted(name) for name in (*columns, FILE, REASON)]
    return rows.select(*kept, record.alias(RECORD))


def _lines(spark: "SparkSession", files: list[StagedFile]) -> "DataFrame":
    text = spark.read.text([file.path.as_uri() for file in files])
    text = text.select(F.col("value").alias("text"), F.col("_metadata.file_name").alias("file"))
    text = text.where(F.length(F.btrim("text", F.lit(BLANK.decode()))) > 0)
    for header in {file.header for file in files if file.header is not None}:
        names = [file.path.name for file in files if file.header == header]
        text = text.where((F.col("text") != F.lit(header)) | ~F.col("file").isin(names))
    return text


def _records(spark: "SparkSession", paths: list[str], schema: str, settings: dict[str, str]) -> "DataFrame":
    reader = spark.read.schema(schema).options(**settings, multiLine="true", enforceSchema="true")
    frame = reader.csv(paths)
    values = [F.col(quoted(name)) for name in frame.columns]
    text = F.coalesce(values[-1], F.to_csv(F.struct(*values[:-1])))
    name = F.col("_metadata.file_name")
    return frame.select(text.alias("text"), name.alias("file"), F.struct(*values).alias("row"))


def _reason(columns: dict[str, str], is_utf8: bool) -> "Column":
    """Why a row is to be rejected, in a word; the details are found out for rejected rows alone."""
    reason = F.when(F.col(f"row.{quoted(_CORRUPT)}").isNotNull(), F.lit(MALFORMED))
    if not is_utf8:
        reason = F.when(~F.expr("is_valid_utf8(text)"), F.lit(NOT_UTF8)).when(
            F.col(f"row.{quoted(_CORRUPT)}").isNotNull(), F.lit(MALFORMED)
        )
    for name, type_name in columns.items():
        if type_name in ("float", "double"):
            reason = reason.when(_is_not_finite(F.col(f"row.{quoted(name)}")), F.lit(NOT_FINITE))
    return reason


def _is_not_finite(column: "Column") -> "Column":
    return F.isnan(column) | (F.abs(column) == F.lit(float("inf")))


def explain(frame: "DataFrame", columns: dict[str, str], options: ReaderOptions) -> "DataFrame":
    """Rejected rows with a reason that names the column and the value, where they can be found.

    Args:
        frame: What `parse` returned, persisted.
        columns: The declared columns.
        options: The source's options.

    Returns:
        The columns `FILE`, `REASON` and `RECORD`.
    """
    strings = {name: "string" for name in columns}
    schema = f"{_ddl(strings)}, {quoted(_CORRUPT)} string"
    settings = {**options.spark, "mode": "PERMISSIVE", "columnNameOfCorruptRecord": _CORRUPT}
    bad = frame.where(F.col(quoted(REASON)).isNotNull())
    bad = bad.withColumn("values", F.from_csv(quoted(RECORD), schema, settings))
    typed = {name: type_name for name, type_name in columns.items() if type_name != "string"}
    found = [_trouble(name, type_name, options) for name, type_name in typed.items()]
    fields = _field_count(F.col(quoted(RECORD)), options)
    count = F.concat(F.lit(f"expected {len(columns)} fields, found "), fields.cast("string"))
    reason = (
        F.when(F.col(quoted(REASON)) == NOT_UTF8, F.lit(NOT_UTF8))
        .when(F.col(f"values.{quoted(_CORRUPT)}").isNotNull() & (fields != len(columns)), count)
        .otherwise(F.coalesce(*found, F.lit("the line does not fit the declared columns")))
    )
    return bad.select(quoted(FILE), reason.alias(REASON), quoted(RECORD))


def _trouble(name: str, type_name: str, options: ReaderOptions) -> "Column":
    text = F.col(f"values.{quoted(name)}")
    pattern = options.spark.get(f"{type_name}Format")
    if pattern is None:
        value = F.expr(f"try_cast(values.{quoted(name)} AS {type_name})")
    else:
        value = F.try_to_timestamp(text, F.lit(pattern))
    shown = F.concat(F.lit(f"column '{name}': '"), F.left(text, F.lit(SHOWN_VALUE)), F.lit("' is not "))
    bad = value.isNull() | text.rlike(r"^\s|\s$")
    reason = F.when(text.isNotNull() & bad, F.concat(shown, F.lit(f"of type {type_name}")))
    if type_name in ("float", "double"):
        reason = reason.when(_is_not_finite(value), F.concat(shown, F.lit("a finite number")))
    return reason


def _field_count(record: "Column", options: ReaderOptions) -> "Column":
    """Fields in a record: the separators outside quotes, and one."""
    if options.quote:
        quote = f"\\{options.quote}"
        record = F.regexp_replace(record, f"{quote}[^{quote}]*{quote}", "")
    without = F.replace(record, F.lit(options.separator), F.lit(""))
    return F.length(record) - F.length(without) + 1


def _ddl(columns: dict[str, str]) -> str:
    return ", ".join(f"{quoted(name)} {type_name}" for name, type_name in columns.items())
