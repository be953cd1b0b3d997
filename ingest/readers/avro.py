"""Reads Avro: compares the writer's schema with the declared columns and decodes every block once."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import fastavro

from ingest.errors import FileUnreadable
from ingest.readers.typed import FileContent, TypedReader
from millrace.errors import DataRejected, shorten
from millrace.retry import RetryPolicy
from millrace.storage import open_input

_TYPES: Final = {
    "boolean": "boolean", "int": "int", "long": "bigint", "float": "float", "double": "double", "string": "string",
    "enum": "string", "bytes": "binary", "fixed": "binary",
}  # fmt: skip
_LOGICAL: Final = {
    ("int", "date"): "date", ("long", "timestamp-millis"): "timestamp", ("long", "timestamp-micros"): "timestamp",
}  # fmt: skip
"""By the type below it: the specification of Avro says that a logical type on another type is ignored."""


def sql_type(schema: Any) -> str:
    """A field's type in Spark SQL; for a union of null and one type, that type."""
    if isinstance(schema, list):
        others = [kind for kind in schema if kind != "null"]
        return sql_type(others[0]) if len(others) == 1 else "union"
    if isinstance(schema, Mapping):
        logical, below = schema.get("logicalType"), schema["type"]
        if logical == "decimal" and below in ("bytes", "fixed"):
            return f"decimal({schema['precision']},{schema.get('scale', 0)})"
        return _LOGICAL.get((str(below), str(logical))) or sql_type(below)
    return _TYPES.get(str(schema), str(schema))


class AvroReader(TypedReader):
    """Reads Avro object container files."""

    spark_format: ClassVar[str] = "avro"

    def inspect(self, path: str, retry: RetryPolicy) -> FileContent:
        """Compare the schema with the declared columns, then decode every record."""
        try:
            with open_input(path, retry) as source:
                file = fastavro.reader(source)
                schema = file.writer_schema
                fields = schema.get("fields", ()) if isinstance(schema, Mapping) else ()
                types = {field["name"]: sql_type(field["type"]) for field in fields}
                self.shape.check_names(path, [field["name"] for field in fields])
                self.shape.check(path, types)
                rows = sum(1 for _ in file)
        except DataRejected:
            raise
        except ValueError as error:
            if isinstance(error, UnicodeDecodeError) or "codec" not in str(error):
                raise _damaged(path, error) from error
            raise FileUnreadable(path, reason=f"its compression cannot be read: {error}") from error
        except Exception as error:  # damaged bytes can make the decoder raise any exception
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise _damaged(path, error) from error
        return FileContent(rows, tuple(types))


def _damaged(path: str, error: Exception) -> FileUnreadable:
    return FileUnreadable(path, reason=f"damaged or not an Avro file: {shorten(f'{type(error).__name__}: {error}')}")
