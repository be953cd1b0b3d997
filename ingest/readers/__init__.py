"""Readers: one module for each format that a source may have.

`ingest.readers.typed` says how to add a format.
"""

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
    """What a reader finds with Spark in staged files, before any row is parsed.

    Attributes:
        rows: Number of rows by `StagedFile.file`, for files whose rows only Spark can count.
        bad: Errors of bad files, by `StagedFile.file`.
    """

    rows: Mapping[str, int] = field(default_factory=dict)
    bad: Mapping[str, DataRejected] = field(default_factory=dict)


class Reader(Protocol):
    """Reads files of one format. It is pickled and sent to executors, so it holds only plain values."""

    @property
    def shape(self) -> Shape:
        """The declared columns."""

    @property
    def counts_lines(self) -> bool:
        """Whether the number of rows of every staged file is known, and must equal the number that Spark parses."""

    @property
    def has_lines(self) -> bool:
        """Whether each row is one line of text."""

    def stage(self, path: str, prefix: str, retry: RetryPolicy = NO_RETRY) -> list[StagedFile]:
        """Check one file and make it readable for Spark; runs in this process or on an executor.

        Args:
            path: The source file.
            prefix: Start of the paths of the staged files.
            retry: The policy for reading and writing files.

        Raises:
            DataRejected: The file is damaged, or has other columns than declared.
        """

    def check(self, spark: "SparkSession", files: Sequence[StagedFile]) -> Checked:
        """Check all files with Spark, before any row is parsed."""

    def read(self, spark: "SparkSession", files: Sequence[StagedFile], *, brief: bool = False) -> "DataFrame":
        """Parse staged files.

        Args:
            spark: The session.
            files: The files.
            brief: Whether the caller only wants to know which rows are rejected. `REASON` and `RECORD` of a rejected
                row then may be any text, or null in the case of `RECORD`, which saves time for all rows.

        Spark parses only the columns that a query uses. So the caller must use `REASON`, which depends on all of them.

        Returns:
            The declared columns, `FILE`, `REASON` and `RECORD`. The last two are null in good rows; in rejected rows
            they hold the raw text and a reason, which `ingest.grammar.parse.explain` puts into words.
        """
