"""Functions that readers share: read lines of text, turn texts into values, find the file of a row, select rejects."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from pyspark.sql import functions as F

from ingest.grammar.parse import find_mismatch, mark, value_of
from ingest.spark.columns import FILE, NOT_UTF8, NUL, REASON, RECORD, TEXT, quoted, text_column
from ingest.staging.lines import BLANK
from ingest.staging.staged_file import StagedFile
from millrace.config.sections.columns import Column

if TYPE_CHECKING:
    from pyspark.sql import Column as Expression
    from pyspark.sql import DataFrame, SparkSession

_WRONG: Final = "#wrong"


def file_column(files: Sequence[StagedFile]) -> "Expression":
    """The file that a row comes from, equal to its `StagedFile.file`."""
    whole = any("/" in file.file for file in files)
    return F.col("_metadata.file_path" if whole else "_metadata.file_name").alias(FILE)


def read_lines(spark: "SparkSession", files: Sequence[StagedFile]) -> "DataFrame":
    """Read the lines that are neither blank nor headers, as the columns `TEXT` and `FILE`."""
    text = spark.read.text([file.uri for file in files])
    text = text.select(F.col("value").alias(TEXT), file_column(files))
    if any(file.lines.blank or file.lines.trailing_blank for file in files):
        text = text.where(F.length(F.btrim(quoted(TEXT), F.lit(BLANK.decode()))) > 0)
    for header in {file.header for file in files if file.header is not None}:
        names = [file.file for file in files if file.header == header]
        own = F.lit(True) if len(names) == len(files) else F.col(quoted(FILE)).isin(names)
        text = text.where((F.col(quoted(TEXT)) != F.lit(header)) | ~own)
    return text


def text_reason(files: Sequence[StagedFile]) -> "Expression":
    """The reason to reject a line's text, for any format; null for valid text."""
    conditions = []
    if not all(file.lines.is_utf8 for file in files):
        conditions.append((~F.is_valid_utf8(quoted(TEXT)), NOT_UTF8))
    if any(file.lines.has_nul for file in files):
        conditions.append((F.contains(F.col(quoted(TEXT)), F.lit("\0")), NUL))
    reason = F.lit(None).cast("string")
    for condition, name in reversed(conditions):
        reason = F.when(condition, F.lit(name)).otherwise(reason)
    return reason


def with_values(
    rows: "DataFrame",
    columns: Mapping[str, Column],
    reasons: "Sequence[Expression]",
    has_no_blanks: "Expression | None" = None,
    *,
    typed: Collection[str] = (),
    brief: bool = False,
) -> "DataFrame":
    """Turn the texts of rows into values.

    Args:
        rows: The columns `TEXT` and `FILE`, and the text of each declared column, named by `text_column`.
        columns: The declared columns.
        reasons: Reasons to reject a row that take precedence over a text that is not a value.
        has_no_blanks: A condition for rows whose texts have no character of `BLANKS`, if it is known.
        typed: Columns that have values already, and no text; only if `brief`.
        brief: Leave the reasons out; see `Reader.read`.

    Returns:
        The declared columns, `FILE`, `REASON` and `RECORD`.
    """
    texts = {name: F.col(quoted(text_column(name))) for name in columns if name not in typed}
    # One projection each, because Spark would otherwise compute a value again wherever it is used.
    rows = rows.withColumns({name: value_of(text, columns[name], has_no_blanks) for name, text in texts.items()})
    read = {name: columns[name] for name in texts}
    wrong = find_mismatch(read, texts, {name: F.col(quoted(name)) for name in texts})
    rows = rows.withColumn(_WRONG, wrong)
    first_wrong = F.col(quoted(_WRONG))
    if brief:
        is_wrong = first_wrong.isNotNull()
        for reason in reasons:
            is_wrong = is_wrong | reason.isNotNull()
        reason, record = F.when(is_wrong, F.lit("")), F.lit(None).cast("string")
        return rows.select(*map(quoted, (*columns, FILE)), reason.alias(REASON), record.alias(RECORD))
    rows = rows.withColumn(REASON, F.coalesce(*reasons, mark(first_wrong, texts)))
    return rows.select(*map(quoted, (*columns, FILE, REASON)), record_of().alias(RECORD))


def record_of() -> "Expression":
    """The raw text of a rejected row, from the columns `TEXT` and `REASON`; null for a good row."""
    return F.when(F.col(quoted(REASON)).isNotNull(), F.make_valid_utf8(quoted(TEXT)))


def rejected_rows(frame: "DataFrame") -> "DataFrame":
    """Select the rows that have a reason, as `FILE`, `REASON` and `RECORD`."""
    return frame.where(F.col(quoted(REASON)).isNotNull()).select(quoted(FILE), quoted(REASON), quoted(RECORD))
