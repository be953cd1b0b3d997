"""Reads Parquet: compares footers with the declared columns and decodes every page once before Spark reads.

Spark alone would read a missing column as nulls, and report only the first of many damaged files.
"""

from typing import ClassVar, Final

import pyarrow as pa
import pyarrow.parquet as pq

from ingest.errors import FileUnreadable
from ingest.readers.typed import FileContent, TypedReader
from millrace.retry import RetryPolicy
from millrace.storage import is_of_storage, open_input

_TYPES: Final = {
    pa.bool_(): "boolean", pa.int8(): "tinyint", pa.int16(): "smallint", pa.int32(): "int", pa.int64(): "bigint",
    pa.float32(): "float", pa.float64(): "double", pa.string(): "string", pa.large_string(): "string",
    pa.binary(): "binary", pa.large_binary(): "binary", pa.date32(): "date",
}  # fmt: skip


def sql_type(kind: pa.DataType, physical: str) -> str:
    """A column's type in Spark SQL; a type that Spark cannot read keeps its Arrow name."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_timestamp(kind) and (physical == "INT96" or kind.unit in ("us", "ms")):
        return "timestamp"
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    return _TYPES.get(kind, str(kind))


class ParquetReader(TypedReader):
    """Reads Parquet files; a damaged file is rejected as a whole."""

    spark_format: ClassVar[str] = "parquet"

    def inspect(self, path: str, retry: RetryPolicy) -> FileContent:
        """Compare the footer, then decode every page of the declared columns and check its checksum, if it has one."""
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
            raise FileUnreadable(path, reason=f"damaged or not a Parquet file: {error}") from error
        if decoded != rows:
            raise FileUnreadable(path, reason=f"its footer declares {rows} rows, but it has {decoded}")
        return FileContent(rows, tuple(schema.names))
