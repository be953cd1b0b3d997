"""Reads Avro: the writer's schema is compared with the declared columns, and every block is decoded once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import fastavro

from ingest.errors import FileUnreadable
from ingest.readers import Checked
from ingest.readers.typed import explained, read_typed, staged
from ingest.staging.shape import Shape
from ingest.staging.staged_file import StagedFile
from millrace.errors import DataRejected, shorten
from millrace.retry import NO_RETRY, RetryPolicy
from millrace.storage import open_input

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_TYPES: Final = {
    "boolean": "boolean", "int": "int", "long": "bigint", "float": "float", "double": "double", "string": "string",
    "enum": "string", "bytes": "binary", "fixed": "binary",
}  # fmt: skip
_LOGICAL: Final = {"date": "date", "timestamp-millis": "timestamp", "timestamp-micros": "timestamp"}


def sql_type(schema: Any) -> str:
    """A field's type as Spark SQL calls it; a union with null is the other type."""
    if isinstance(schema, list):
        others = [kind for kind in schema if kind != "null"]
        return sql_type(others[0]) if len(others) == 1 else "union"
    if isinstance(schema, Mapping):
        logical = schema.get("logicalType")
        if logical == "decimal":
            return f"decimal({schema['precision']},{schema.get('scale', 0)})"
        return _LOGICAL.get(str(logical)) or sql_type(schema["type"])
    return _TYPES.get(str(schema), str(schema))


@dataclass(frozen=True)
class AvroReader:
    """Reads Avro's object container files."""

    shape: Shape
    counts_lines: bool = True
    has_lines: bool = False

    def stage(self, path: str, prefix: str, retry: RetryPolicy = NO_RETRY) -> list[StagedFile]:
        """Compare the schema, then decode every record."""
        try:
            with open_input(path, retry) as source:
                file = fastavro.reader(source)
                schema = file.writer_schema
                fields = schema.get("fields", ()) if isinstance(schema, Mapping) else ()
                types = {field["name"]: sql_type(field["type"]) for field in fields}
                self.shape.check(path, types)
                rows = sum(1 for _ in file)
        except DataRejected:
            raise
        except Exception as error:  # of damaged bytes the decoder makes whatever they look like
            if isinstance(error, OSError) and error.errno is not None:
                raise
            reason = shorten(f"{type(error).__name__}: {error}")
            raise FileUnreadable(path, reason=f"damaged or no Avro file: {reason}") from error
        return staged(path, prefix, rows, list(types), retry)

    def check(self, spark: "SparkSession", files: Sequence[StagedFile]) -> Checked:
        """Nothing more: schemas have been compared."""
        return Checked()

    def read(self, spark: "SparkSession", files: Sequence[StagedFile]) -> "DataFrame":
        """By Spark's own reader."""
        return read_typed(spark, files, self.shape, "avro")

    def explain(self, frame: "DataFrame", files: Sequence[StagedFile]) -> "DataFrame":
        """The reason says all."""
        return explained(frame)
