"""The typed section of a declared source: where it lies, how it is written, what it holds."""

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from millrace.config.sections.names import ColumnName, Digest, SqlType
from millrace.section import Section

Format = Literal["csv", "json", "text", "parquet", "avro", "sequencefile", "jdbc"]
TEXT_FORMATS: Final = ("csv", "json", "text")
"""Formats whose files may be compressed with gzip or bzip2, or lie in a zip."""


def _listed(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


Paths = Annotated[
    tuple[str, ...],
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]


class Jdbc(Section):
    """A table or query of a database; the password never stands in a file."""

    url: str = Field(pattern=r"^jdbc:.+")
    """Address as the driver takes it, such as ``jdbc:postgresql://host/db``."""
    table: str | None = None
    """The table; or give a query."""
    query: str | None = None
    """A SELECT statement."""
    driver: str | None = None
    """Class of the driver, whose jar Spark must have; by default found by the address."""
    user: str | None = None
    """Who asks."""
    password_env: str | None = None
    """Name of the environment variable that holds the password."""

    @model_validator(mode="after")
    def _one_of_them(self) -> "Jdbc":
        if (self.table is None) == (self.query is None):
            raise ValueError("expected exactly one of table, query")
        return self


class Source(Section):
    """A declared input: where it lies, what it holds."""

    format: Format = "csv"
    """How it is written. csv, json (an object a line) and text (a value a line) may be plain, gzip, bzip2 or zip."""
    path: Paths = ()
    """A file, a folder, a pattern such as ``data/dt=*/*.csv``, or a list of these: relative to this product file,
    ``hdfs://host:port/path``, or ``package://distribution/path`` for a file of an installed package. Where a folder is
    called ``name=value``, that is the value of the declared column ``name``."""
    jdbc: Jdbc | None = None
    """Where the rows of format jdbc come from."""
    sha256: Digest | None = None
    """The file's digest; another file under this name is refused."""
    options: dict[str, str | bool | int] = Field(default_factory=dict)
    """Options of Spark's reader, such as ``nullValue: NA``."""
    columns: dict[ColumnName, SqlType] = Field(min_length=1)
    """Every column of the file in its order, with its Spark SQL type; never inferred."""
    optional: tuple[ColumnName, ...] = ()
    """Columns that a file may lack; they are null there."""
    extra_columns: Literal["reject", "drop"] = "reject"
    """A column that is not declared: `reject` the file, or `drop` the column with a warning."""
    on_bad_file: Literal["reject", "quarantine"] = "reject"
    """A damaged file or one with other columns: `reject` them all, each by name, or `quarantine` it: it stays where it
    is, is left out, and the run's record names it."""
    max_bad_files: int = Field(1, ge=1)
    """More files than this are never left out."""
    incremental: bool = False
    """Take only files that the table does not hold already, and add their rows to it; for the base source."""
    settle_s: float = Field(10.0, ge=0)
    """An incremental source leaves a file for the next run that changed within so many seconds."""

    @model_validator(mode="after")
    def _comes_from_somewhere(self) -> "Source":
        if (self.format == "jdbc") != (self.jdbc is not None):
            raise ValueError("format jdbc and the section jdbc belong together")
        if bool(self.path) == (self.jdbc is not None):
            raise ValueError("path: a source of files needs one" if not self.path else "format jdbc takes no path")
        if self.sha256 and len(self.path) != 1:
            raise ValueError("sha256 is the digest of one file; the path must name one")
        unknown = [name for name in self.optional if name not in self.columns]
        if unknown:
            raise ValueError(f"optional: '{unknown[0]}' is not among the columns")
        return self
