"""The typed section of a declared source: where its data is, in which format, with which columns."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, WithJsonSchema, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from millrace.config.sections.columns import Column
from millrace.config.sections.names import ColumnName, Digest, as_tuple
from millrace.section import Section

Format = Literal["csv", "json", "text", "parquet", "avro", "sequencefile", "jdbc"]


Paths = Annotated[
    tuple[str, ...],
    BeforeValidator(as_tuple),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]


def _as_column(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


class _OrType:
    """Adds the short form to the JSON schema: only the type."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string"}, handler(schema)]}


ColumnOrType = Annotated[Column, BeforeValidator(_as_column), _OrType()]


class Jdbc(Section):
    """A table or query of a database. The password comes from an environment variable."""

    url: str = Field(pattern=r"^jdbc:.+")
    """JDBC URL, such as ``jdbc:postgresql://host/db``."""
    table: str | None = None
    """Name of the table; use this or `query`."""
    query: str | None = None
    """A SELECT statement; use this or `table`."""
    driver: str | None = None
    """Class of the JDBC driver; by default chosen by the URL. Its jar must be on Spark's class path."""
    user: str | None = None
    """User name for the database."""
    password_env: str | None = None
    """Name of the environment variable with the password."""

    @model_validator(mode="after")
    def _check_table_or_query(self) -> "Jdbc":
        if (self.table is None) == (self.query is None):
            raise ValueError("expected exactly one of table, query")
        return self


class Source(Section):
    """A declared input."""

    format: Format = "csv"
    """Format of the data. Files of csv, json (one object per line) and text (one value per line) may be compressed with
    gzip, bzip2 or zip."""
    path: Paths = ()
    """A file, a folder, a pattern such as ``data/dt=*/*.csv``, or a list of these. Each is relative to the product
    file, or ``hdfs://host:port/path``, or ``package://distribution/path`` for a file of an installed Python package. A
    folder called ``name=value`` gives the declared column ``name`` its value."""
    jdbc: Jdbc | None = None
    """The database, for format jdbc."""
    sha256: Digest | None = None
    """SHA-256 of the file; a file with another digest is rejected. Only for a path with one file."""
    options: dict[str, str | bool | int] = Field(default_factory=dict)
    """Options of Spark's reader, such as ``nullValue: NA``."""
    columns: dict[ColumnName, ColumnOrType] = Field(min_length=1)
    """Every column of the file with its Spark SQL type, in order; or a section with the type and how the file writes
    the column. Columns and types are never inferred."""
    exact: bool = False
    """Reject values that their type could only hold rounded; a column can set this too."""
    optional: tuple[ColumnName, ...] = ()
    """Columns that a file may lack; their values are null then."""
    extra_columns: Literal["reject", "drop"] = "reject"
    """For a column that is not declared: `reject` the file, or `drop` the column with a warning."""
    on_bad_file: Literal["reject", "quarantine"] = "reject"
    """For a damaged file, or one with other columns: `reject` ends the run and lists all such files; `quarantine`
    leaves the file out and lists it in the run record. The file itself is not moved."""
    max_bad_files: int = Field(1, ge=1)
    """With `quarantine`: most files that may be left out; with more, the run fails."""
    incremental: bool = False
    """Read only files that are not in the table yet, and append their rows. Only for the base source."""
    settle_s: float = Field(10.0, ge=0)
    """With `incremental`: skip files that changed in the last so many seconds, until the next run."""

    @model_validator(mode="after")
    def _check_format_and_path(self) -> "Source":
        if (self.format == "jdbc") != (self.jdbc is not None):
            raise ValueError("format jdbc needs the section jdbc, and other formats must not have it")
        if bool(self.path) == (self.jdbc is not None):
            raise ValueError("path is missing" if not self.path else "format jdbc has no path")
        if self.sha256 and len(self.path) != 1:
            raise ValueError("sha256 is the digest of one file, so path must have one item")
        unknown = [name for name in self.optional if name not in self.columns]
        if unknown:
            raise ValueError(f"optional: '{unknown[0]}' is not among the columns")
        if "max_bad_files" in self.model_fields_set and self.on_bad_file != "quarantine":
            raise ValueError("max_bad_files has an effect only with on_bad_file: quarantine")
        if "settle_s" in self.model_fields_set and not self.incremental:
            raise ValueError("settle_s has an effect only with incremental: true")
        return self

    @model_validator(mode="after")
    def _check_columns(self) -> "Source":
        seen: dict[str, str] = {}
        for name, column in self.columns.items():
            written = column.in_file(name)
            if written in seen:
                raise ValueError(f"columns: '{seen[written]}' and '{name}' both read the column '{written}'")
            seen[written] = name
            if column.from_ is not None and self.format in ("text", "sequencefile"):
                raise ValueError(f"columns: '{name}' has from, but format {self.format} has no column names")
            if column.text_keys and self.format not in ("csv", "json"):
                raise ValueError(f"columns: '{name}' has {column.text_keys[0]}, which only csv and json can have")
        return self

    @property
    def types(self) -> dict[str, str]:
        """The Spark SQL type of each column, in order."""
        return {name: column.type for name, column in self.columns.items()}
