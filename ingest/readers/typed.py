"""What files share that hold their own schema: compared once, then only a float can be wrong."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from ingest.readers.raw import file_column
from ingest.spark.columns import FILE, REASON, RECORD, ddl, not_finite_reason, quoted
from ingest.staging.lines import LineCount
from ingest.staging.shape import Shape
from ingest.staging.staged_file import StagedFile, key_of, place
from millrace.retry import NO_RETRY, RetryPolicy

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def staged(
    path: str, prefix: str, rows: int, columns: Sequence[str], retry: RetryPolicy = NO_RETRY
) -> list[StagedFile]:
    """A checked file, where Spark can read it."""
    uri = place(path, f"{prefix}-00000", retry)
    return [StagedFile(uri, key_of(path, uri), path, None, LineCount(rows=rows), tuple(columns))]


def read_typed(spark: "SparkSession", files: Sequence[StagedFile], shape: Shape, format_name: str) -> "DataFrame":
    """Read files with Spark's own reader, by the declared columns."""
    reader = spark.read.schema(ddl(shape.columns)).format(format_name)
    frame = reader.load([file.uri for file in files])
    return with_reasons(frame.select(*map(quoted, shape.columns), file_column(files)), shape)


def with_reasons(frame: "DataFrame", shape: Shape) -> "DataFrame":
    """Rows with the reason and the text of those that are to be rejected."""
    rows = frame.withColumn(REASON, not_finite_reason(shape.columns))
    record = F.to_json(F.struct(*map(quoted, shape.columns)))
    return rows.withColumn(RECORD, F.when(F.col(quoted(REASON)).isNotNull(), record))


def explained(frame: "DataFrame") -> "DataFrame":
    """Rejected rows; the reason says all."""
    return frame.where(F.col(quoted(REASON)).isNotNull()).select(quoted(FILE), quoted(REASON), quoted(RECORD))
