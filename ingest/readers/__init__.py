"""Readers: one module for each format that a source may have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ingest.staging.shape import Shape
from ingest.staging.staged_file import StagedFile
from millrace.errors import DataRejected
from millrace.retry import NO_RETRY, RetryPolicy

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class Checked:
    """What only Spark can find out of staged files before their rows are parsed.

    Attributes:
        rows: Rows by `StagedFile.file`, where the file itself does not say.
        bad: Files that cannot be taken, by `StagedFile.file`.
    """

    rows: Mapping[str, int] = field(default_factory=dict)
    bad: Mapping[str, DataRejected] = field(default_factory=dict)


class Reader(Protocol):
    """Reads files of one format; sent to executors, so it holds nothing but values."""

    @property
    def shape(self) -> Shape:
        """The columns that the files hold."""

    @property
    def counts_lines(self) -> bool:
        """Whether every staged file says how many rows Spark must find in it."""

    @property
    def has_lines(self) -> bool:
        """Whether a row is a line of a text."""

    def stage(self, path: str, prefix: str, retry: RetryPolicy = NO_RETRY) -> list[StagedFile]:
        """Check one file and make it readable for Spark; runs wherever the file is near.

        Raises:
            DataRejected: The file is damaged, or holds other columns than declared.
        """

    def check(self, spark: "SparkSession", files: Sequence[StagedFile]) -> Checked:
        """Look at all files with Spark, before a row is parsed."""

    def read(self, spark: "SparkSession", files: Sequence[StagedFile]) -> "DataFrame":
        """Parse staged files.

        The caller must persist the result before it filters: Spark parses only the columns that a query asks for, and
        what is not parsed is not found malformed.

        Returns:
            The declared columns, `FILE`, and for rows that are to be rejected `REASON` and `RECORD`; these two are null
            in good rows.
        """

    def explain(self, frame: "DataFrame", files: Sequence[StagedFile]) -> "DataFrame":
        """Rejected rows of what `read` returned, with a reason that names the column and the value where it can.

        Returns:
            The columns `FILE`, `REASON` and `RECORD`.
        """
