"""Chooses the reader of a format."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ingest.readers import Reader
from ingest.readers.avro import AvroReader
from ingest.readers.delimited import DelimitedReader
from ingest.readers.jdbc import JdbcReader
from ingest.readers.json_lines import JsonReader
from ingest.readers.parquet import ParquetReader
from ingest.readers.sequence import SequenceReader
from ingest.readers.text import TextReader
from ingest.staging.shape import Shape
from millrace.config.checks.reader_options import read_options
from millrace.config.sections.sources import Source
from millrace.errors import ConfigError

_READERS: Final[Mapping[str, Callable[[Source, Shape], Reader]]] = {
    "csv": lambda source, shape: DelimitedReader(shape, read_options(source)),
    "json": lambda source, shape: JsonReader(shape, read_options(source)),
    "text": lambda source, shape: TextReader(shape, read_options(source)),
    "parquet": lambda _, shape: ParquetReader(shape),
    "avro": lambda _, shape: AvroReader(shape),
    "sequencefile": lambda _, shape: SequenceReader(shape),
    "jdbc": lambda _, shape: JdbcReader(shape),
}
_COLUMN_COUNT: Final = {"text": (1, 1, "one"), "sequencefile": (1, 2, "one or two")}
"""For formats without column names: least and greatest number of columns, and the same in words."""


def reader_for(name: str, source: Source, columns: Sequence[str]) -> Reader:
    """Make the reader of a source.

    Args:
        name: Name of the source.
        source: Its section.
        columns: Names of the declared columns whose values are in the files, not in the names of folders.

    Raises:
        ConfigError: The number or type of the columns does not suit the format.
    """
    least, most, words = _COLUMN_COUNT.get(source.format, (1, len(columns) or 1, ""))
    if not least <= len(columns) <= most:
        raise ConfigError(f"sources.{name}.columns: {source.format} has {words or 'columns'}, found {len(columns)}")
    if source.format == "text" and source.types[columns[0]] != "string":
        raise ConfigError(f"sources.{name}.columns: the column of a text source must be a string")
    return _READERS[source.format](source, Shape.of(source, columns))
