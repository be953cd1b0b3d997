"""Reads Parquet: footers are compared with the declared columns, and every page is decoded once before Spark is asked.

Spark would read a column that is missing as nulls, and of many damaged files name only the first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from ingest.errors import FileUnreadable
from ingest.readers import Checked
from ingest.readers.typed import explained, read_typed, staged
from ingest.staging.shape import Shape
from ingest.staging.staged_file import StagedFile
from millrace.retry import NO_RETRY, RetryPolicy
from millrace.storage import is_of_storage, open_input

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_TYPES: Final = {
    pa.bool_(): "boolean", pa.int8(): "tinyint", pa.int16(): "smallint", pa.int32(): "int", pa.int64(): "bigint",
    pa.float32(): "float", pa.float64(): "double", pa.string(): "string", pa.large_string(): "string",
    pa.binary(): "binary", pa.large_binary(): "binary", pa.date32(): "date",
}  # fmt: skip


def sql_type(kind: pa.DataType, physical: str) -> str:
    """A column's type as Spark SQL calls it; what Spark cannot read under any keeps Arrow's name."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_timestamp(kind) and (physical == "INT96" or kind.unit in ("us", "ms")):
        return "timestamp"
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    return _TYPES.get(kind, str(kind))


@dataclass(frozen=True)
class ParquetReader:
    """Reads Parquet files, whole ones alone."""

    shape: Shape
    counts_lines: bool = True
    has_lines: bool = False

    def stage(self, path: str, prefix: str, retry: RetryPolicy = NO_RETRY) -> list[StagedFile]:
        """Compare the footer, then decode every page of the declared columns with its checksum, where it has one."""
        try:
            with open_input(path, retry) as source, pq.ParquetFile(source, page_checksum_verification=True) as file:
                schema, rows = file.schema_arrow, file.metadata.num_rows
                physical = {c.path: c.physical_type for c in map(file.schema.column, range(len(file.schema)))}
                types = {field.name: sql_type(field.type, physical.get(field.name, "")) for field in schema}
                self.shape.check(path, types)
                wanted = [name for name in self.shape.columns if name in types]
                decoded = sum(batch.num_rows for batch in file.iter_batches(columns=wanted, use_threads=False))
        except (pa.ArrowException, OSError) as error:
            if is_of_storage(error):
                raise
            raise FileUnreadable(path, reason=f"damaged or no Parquet file: {error}") from error
        if decoded != rows:
            raise FileUnreadable(path, reason=f"its footer says {rows} rows, it holds {decoded}")
        return staged(path, prefix, rows, schema.names, retry)

    def check(self, spark: "SparkSession", files: Sequence[StagedFile]) -> Checked:
        """Nothing more: footers have been compared."""
        return Checked()

    def read(self, spark: "SparkSession", files: Sequence[StagedFile]) -> "DataFrame":
        """By Spark's own reader."""
        return read_typed(spark, files, self.shape, "parquet")

    def explain(self, frame: "DataFrame", files: Sequence[StagedFile]) -> "DataFrame":
        """The reason says all."""
        return explained(frame)
