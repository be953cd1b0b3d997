"""Reads a database: its rows are staged once as Parquet, so that all that follows sees the same ones."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import functions as F

from ingest.readers import Checked
from ingest.readers.typed import explained, read_typed
from ingest.spark.columns import quoted
from ingest.spark.errors import first_line
from ingest.staging.lines import LineCount
from ingest.staging.shape import Shape
from ingest.staging.staged_file import StagedFile, uri_of
from millrace.config.checks.reader_options import read_options
from millrace.config.sections.sources import Jdbc, Source
from millrace.digests import digest_of
from millrace.errors import ConfigError, Unavailable, shorten
from millrace.retry import NO_RETRY, RetryPolicy
from millrace.storage import files_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_NAMELESS: Final = ("No suitable driver", "ClassNotFoundException")
_WRONG: Final = ("42", "28")
"""Classes of SQLSTATEs: no such table or column, no such user or a wrong password."""


@dataclass(frozen=True)
class JdbcReader:
    """Reads what `fetch` has staged."""

    shape: Shape
    counts_lines: bool = True
    has_lines: bool = False

    def stage(self, path: str, prefix: str, retry: RetryPolicy = NO_RETRY) -> list[StagedFile]:
        """Nothing: `fetch` has staged all there is."""
        raise NotImplementedError

    def check(self, spark: "SparkSession", files: Sequence[StagedFile]) -> Checked:
        """Nothing more: the columns have been compared."""
        return Checked()

    def read(self, spark: "SparkSession", files: Sequence[StagedFile]) -> "DataFrame":
        """From the staged Parquet."""
        return read_typed(spark, files, self.shape, "parquet")

    def explain(self, frame: "DataFrame", files: Sequence[StagedFile]) -> "DataFrame":
        """The reason says all."""
        return explained(frame)


def fetch(
    spark: "SparkSession", name: str, source: Source, shape: Shape, folder: str, retry: RetryPolicy = NO_RETRY
) -> tuple[str, list[StagedFile]]:
    """Copy a table or the result of a query into the staging folder.

    Returns:
        A digest of the rows, whatever their order, and the staged files.

    Raises:
        ConfigError: No driver, no such table, a wrong password.
        ColumnsMismatch: The columns are not the declared ones.
        Unavailable: The database does not answer.
    """
    if source.jdbc is None:
        raise ValueError("a source of format jdbc has its section")
    what = f"sources.{name}"
    try:
        frame = _load(spark, what, source, source.jdbc)
        # A database does not tell small letters from capitals, unless it was told to.
        found = {name.lower(): name for name in frame.columns}
        names = {found[column.lower()]: column for column in shape.columns if column.lower() in found}
        frame = frame.select(*(F.col(quoted(c)).alias(names.get(c, c)) for c in frame.columns))
        shape.check(_shown(source.jdbc), {f.name: f.dataType.simpleString() for f in frame.schema})
        frame = frame.select(*(quoted(c) for c in shape.columns if c in frame.columns))
        frame.write.parquet(uri_of(folder))
    except (PySparkException, Py4JError) as error:
        raise _translated(what, error) from error
    staged = spark.read.schema(frame.schema).parquet(uri_of(folder))
    counts: dict[str, int] = dict(staged.groupBy("_metadata.file_name").count().collect())
    parts = [f"{folder}/{part}" for part in files_of(folder, retry).walk(folder) if part.endswith(".parquet")]
    shown, columns = _shown(source.jdbc), tuple(frame.columns)
    files = [
        StagedFile(uri, key, shown, None, LineCount(rows=counts.get(key, 0)), columns)
        for uri, key in ((uri_of(part), part.rpartition("/")[2]) for part in parts)
    ]
    return _digest(staged), files


def _load(spark: "SparkSession", what: str, source: Source, jdbc: Jdbc) -> "DataFrame":
    settings = {"url": jdbc.url, "driver": jdbc.driver, "user": jdbc.user, "dbtable": jdbc.table, "query": jdbc.query}
    if jdbc.password_env is not None:
        settings["password"] = os.environ.get(jdbc.password_env)
        if settings["password"] is None:
            raise ConfigError(f"{what}.jdbc.password_env: the environment has no {jdbc.password_env}")
    given = {key: value for key, value in settings.items() if value is not None}
    return spark.read.format("jdbc").options(**given, **read_options(source).spark).load()


def _shown(jdbc: Jdbc) -> str:
    """What a user calls it; an address may hold a password."""
    return f"table {jdbc.table}" if jdbc.table else f"query {shorten(jdbc.query, 60)}"


def _digest(frame: "DataFrame") -> str:
    row_hash = F.xxhash64(*(F.coalesce(F.col(quoted(c)).cast("string"), F.lit("\0")) for c in frame.columns))
    sums = frame.agg(F.count(F.lit(1)), F.sum(row_hash.cast("decimal(20,0)")), F.bit_xor(row_hash)).collect()[0]
    return digest_of(*frame.columns, *map(str, sums))


def _translated(what: str, error: Exception) -> ConfigError | Unavailable:
    text = str(error)
    said = shorten(first_line(error), 400)
    state = getattr(error, "getSqlState", lambda: "")() or text.rpartition("SQLSTATE: ")[2][:2]
    if any(word in text for word in _NAMELESS):
        hint = "put the driver's jar where Spark finds it, and name its class in jdbc.driver"
        return ConfigError(f"{what}: there is no driver for this address: {said}", hint=hint)
    if state.startswith(_WRONG):
        return ConfigError(f"{what}: {said}")
    return Unavailable(f"{what}: {said}", hint="is the database up, and can it be reached from here?")
