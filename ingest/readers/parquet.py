"""Reads Parquet: compares footers with the declared columns and decodes every page once before Spark reads.

Spark alone would read a missing column as nulls, and report only the first of many damaged files. A file that Spark
cannot read (times in nanoseconds, some compressions and encodings) is written again, in the staging folder.
"""

import contextlib
from collections.abc import Iterator
from typing import IO, ClassVar, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.errors import FileUnreadable
from ingest.readers.typed import FileContent, TypedReader
from ingest.staging.lines import LineCount
from ingest.staging.staged_file import StagedFile, copying, key_of
from millrace.retry import NO_RETRY, RetryPolicy
from millrace.storage import files_of, is_of_storage, open_input, uri_of

_TYPES: Final = {
    pa.bool_(): "boolean", pa.int8(): "tinyint", pa.int16(): "smallint", pa.int32(): "int", pa.int64(): "bigint",
    pa.uint8(): "smallint", pa.uint16(): "int", pa.uint32(): "bigint", pa.uint64(): "decimal(20,0)",
    pa.float32(): "float", pa.float64(): "double", pa.string(): "string", pa.large_string(): "string",
    pa.binary(): "binary", pa.large_binary(): "binary", pa.date32(): "date",
}  # fmt: skip
_SPARKS_CODECS: Final = frozenset({"UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD"})
_SPARKS_ENCODINGS: Final = frozenset({"PLAIN", "RLE", "BIT_PACKED", "PLAIN_DICTIONARY", "RLE_DICTIONARY"})


def sql_type(kind: pa.DataType) -> str:
    """A column's type in Spark SQL; a type that cannot be read keeps its Arrow name.

    Spark has no unsigned integers: it reads them as the next wider type.
    """
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_timestamp(kind):
        return "timestamp"
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    return _TYPES.get(kind, str(kind))


class ParquetReader(TypedReader):
    """Reads Parquet files; a damaged file is rejected as a whole."""

    spark_format: ClassVar[str] = "parquet"

    def stage(self, path: str, prefix: str, retry: RetryPolicy = NO_RETRY) -> list[StagedFile]:
        """Inspect the file and make it readable for Spark."""
        with _mapped(path), open_input(path, retry) as source:
            is_readable = self._is_readable(source)
        if is_readable:
            return super().stage(path, prefix, retry)
        content, target = self.inspect(path, retry), f"{prefix}-00000"
        self._write_again(path, target, retry)
        uri = uri_of(target)
        return [StagedFile(uri, key_of(path, uri), path, None, LineCount(rows=content.rows), content.columns)]

    def inspect(self, path: str, retry: RetryPolicy) -> FileContent:
        """Compare the footer, then decode every page of the declared columns and check its checksum, if it has one."""
        with _mapped(path), open_input(path, retry) as source, _open(source) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
            self.shape.check_names(path, schema.names)
            types = {field.name: sql_type(field.type) for field in schema}
            self.shape.check(path, types)
            wanted = [name for name in self.shape.in_file.values() if name in types]
            decoded = sum(batch.num_rows for batch in file.iter_batches(columns=wanted, use_threads=False))
        if decoded != rows:
            raise FileUnreadable(path, reason=f"its footer declares {rows} rows, but it has {decoded}")
        return FileContent(rows, tuple(schema.names))

    def _is_readable(self, source: IO[bytes]) -> bool:
        """Whether Spark can read the declared columns as they are."""
        with _open(source) as file:
            wanted = set(self.shape.in_file.values())
            exact = {column.in_file(name) for name, column in self.shape.declared.items() if column.exact}
            physical = {c.path: c.physical_type for c in map(file.schema.column, range(len(file.schema)))}
            if any(
                field.name in wanted
                and pa.types.is_timestamp(field.type)
                and (physical.get(field.name) != "INT96" or field.name in exact)
                and field.type.unit not in ("us", "ms")
                for field in file.schema_arrow
            ):
                return False
            groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
            chunks = (group.column(number) for group in groups for number in range(group.num_columns))
            return all(
                chunk.compression in _SPARKS_CODECS and _SPARKS_ENCODINGS.issuperset(chunk.encodings)
                for chunk in chunks
                if chunk.path_in_schema in wanted
            )

    def _write_again(self, path: str, target: str, retry: RetryPolicy) -> None:
        """Write the declared columns as Spark can read them.

        Raises:
            FileUnreadable: A time of an exact column is finer than microseconds.
        """
        exact = {column.in_file(name) for name, column in self.shape.declared.items() if column.exact}
        with _mapped(path), open_input(path, retry) as source, _open(source) as file:
            names = [name for name in self.shape.in_file.values() if name in file.schema_arrow.names]
            schema = pa.schema([(name, _kept_type(file.schema_arrow.field(name).type)) for name in names])
            files_of(target, retry).remove(target)  # of an attempt that failed
            with (
                copying(path, target),
                files_of(target, retry).open_output(target) as copy,
                pq.ParquetWriter(copy, schema, write_page_checksum=True) as writer,
            ):
                for batch in file.iter_batches(columns=names, use_threads=False):
                    columns = [_converted(path, name, batch[name], schema.field(name).type, exact) for name in names]
                    writer.write_batch(pa.record_batch(columns, schema=schema))


def _kept_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.timestamp("us", kind.tz) if pa.types.is_timestamp(kind) else kind


def _converted(path: str, name: str, values: pa.Array, kind: pa.DataType, exact: set[str]) -> pa.Array:
    if not pa.types.is_timestamp(kind) or values.type == kind:
        return values.cast(kind)
    if values.type.unit != "ns":
        return values.cast(kind)
    # Plain numbers, because Arrow rounds times in their zone, where some occur twice.
    numbers = values.cast(pa.int64())
    nanoseconds = numbers.fill_null(0).to_numpy()
    finer = int(np.count_nonzero(nanoseconds % 1_000))
    if finer and name in exact:
        reason = f"column '{name}': {finer} times are finer than microseconds, which exact does not allow"
        raise FileUnreadable(path, reason=reason)
    return pa.array(nanoseconds // 1_000, pa.int64(), mask=numbers.is_null().to_numpy(zero_copy_only=False)).cast(kind)


@contextlib.contextmanager
def _mapped(path: str) -> Iterator[None]:
    """Map the errors of damaged files to `FileUnreadable`."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if is_of_storage(error):
            raise
        raise FileUnreadable(path, reason=f"damaged or not a Parquet file: {error}") from error


def _open(source: IO[bytes]) -> pq.ParquetFile:
    return pq.ParquetFile(source, page_checksum_verification=True)
