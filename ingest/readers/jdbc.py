"""Reads a database: copies its rows once to Parquet, so that all later steps see the same rows."""

import os
from typing import TYPE_CHECKING, ClassVar, Final

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import functions as F

from ingest.readers.typed import FileContent, TypedReader
from ingest.spark.columns import quoted
from ingest.spark.errors import first_line
from ingest.staging.lines import LineCount
from ingest.staging.shape import Shape
from ingest.staging.staged_file import StagedFile
from millrace.config.checks.reader_options import read_options
from millrace.config.sections.sources import Jdbc, Source
from millrace.digests import digest_of
from millrace.errors import ConfigError, Unavailable, shorten
from millrace.retry import NO_RETRY, RetryPolicy
from millrace.storage import files_of, uri_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_NO_DRIVER: Final = ("No suitable driver", "ClassNotFoundException")
_CONFIG_STATES: Final = ("42", "28")
"""Classes of SQLSTATEs for mistakes in the configuration: unknown table or column, unknown user, wrong password."""


class JdbcReader(TypedReader):
    """Reads the Parquet files that `fetch` staged."""

    spark_format: ClassVar[str] = "parquet"

    def inspect(self, path: str, retry: RetryPolicy) -> FileContent:
        """Not used: `fetch` compares the columns and stages the rows."""
        raise NotImplementedError


def fetch(
    spark: "SparkSession", name: str, source: Source, shape: Shape, folder: str, retry: RetryPolicy = NO_RETRY
) -> tuple[str, list[StagedFile]]:
    """Copy a table or the result of a query into the staging folder.

    Returns:
        A digest of the rows, which does not depend on their order, and the staged files.

    Raises:
        ConfigError: The driver or the table does not exist, or the password is wrong.
        ColumnsMismatch: The columns are not the declared ones.
        Unavailable: The database does not respond.
    """
    if source.jdbc is None:
        raise ValueError("a source of format jdbc needs the section jdbc")
    what = f"sources.{name}"
    try:
        frame = _load(spark, what, source, source.jdbc)
        # Databases usually ignore the case of column names.
        found = {name.lower(): name for name in frame.columns}
        written = shape.in_file.values()
        names = {found[column.lower()]: column for column in written if column.lower() in found}
        frame = frame.select(*(F.col(quoted(c)).alias(names.get(c, c)) for c in frame.columns))
        shape.check(_shown(source.jdbc), {f.name: f.dataType.simpleString() for f in frame.schema})
        frame = frame.select(*(quoted(c) for c in written if c in frame.columns))
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
    """Name of the data in messages: not the URL, which may contain a password."""
    return f"table {jdbc.table}" if jdbc.table else f"query {shorten(jdbc.query, 60)}"


def _digest(frame: "DataFrame") -> str:
    row_hash = F.xxhash64(*(F.coalesce(F.col(quoted(c)).cast("string"), F.lit("\0")) for c in frame.columns))
    sums = frame.agg(F.count(F.lit(1)), F.sum(row_hash.cast("decimal(20,0)")), F.bit_xor(row_hash)).collect()[0]
    return digest_of(*frame.columns, *map(str, sums))


def _translated(what: str, error: Exception) -> ConfigError | Unavailable:
    text = str(error)
    reason = shorten(first_line(error), 400)
    state = getattr(error, "getSqlState", lambda: "")() or text.rpartition("SQLSTATE: ")[2][:2]
    if any(word in text for word in _NO_DRIVER):
        hint = "add the driver's jar to Spark's class path, and set jdbc.driver to its class"
        return ConfigError(f"{what}: found no driver for this URL: {reason}", hint=hint)
    if state.startswith(_CONFIG_STATES):
        return ConfigError(f"{what}: {reason}")
    return Unavailable(
        f"{what}: {reason}", hint="check that the database is running and can be reached from this machine"
    )
