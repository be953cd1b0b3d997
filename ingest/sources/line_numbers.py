"""Looks up the line numbers of rejects in their files: Spark splits files and gives no line numbers."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from pyspark.sql import Window
from pyspark.sql import functions as F

from ingest.spark.columns import FILE, REASON, RECORD, quoted
from ingest.spark.errors import mapped_actions
from ingest.spark.executors import map_paths
from ingest.staging.lines import BLANK
from ingest.staging.staged_file import StagedFile
from millrace.retry import NO_RETRY, RetryPolicy
from millrace.storage import files_of, mapped_errors, open_input

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

MOST_NUMBERS: Final = 10_000
"""Most rejects of a source that get a line number; further ones have none."""
_LONGEST: Final = 4_096


@dataclass(frozen=True)
class Numbers:
    """Line numbers of the rejects in one file, counted from 1.

    Attributes:
        texts: Line numbers of each text, in order.
        blank: Line numbers of blank lines.
        headers: Line numbers of repeated headers.
    """

    texts: Mapping[str, list[int]]
    blank: list[int]
    headers: list[int]


def find_numbers(
    explained: "DataFrame", files: Sequence[StagedFile], spark: "SparkSession", retry: RetryPolicy = NO_RETRY
) -> tuple["DataFrame", dict[str, Numbers]]:
    """Add the column ``line`` to rejects, and find the rejected lines that Spark did not read.

    Args:
        explained: Rejects as `FILE`, `REASON` and `RECORD`, from files with one row per line.
        files: The files.
        spark: The session.
        retry: The policy for reading the files.

    Returns:
        The rejects, and the line numbers by `StagedFile.file`.
    """
    short = explained.where(F.length(quoted(RECORD)) <= _LONGEST).select(quoted(FILE), quoted(RECORD))
    with mapped_actions("reading the sources"):
        wanted: dict[str, set[str]] = {}
        for file, record in short.limit(MOST_NUMBERS).collect():
            wanted.setdefault(file, set()).add(record)
    to_scan = [file for file in files if file.file in wanted or file.lines.rejected]
    paths = [file.uri.removeprefix("file://") for file in to_scan]
    by_path = dict(zip(paths, to_scan, strict=True))
    with mapped_errors("folder", "staging"):
        size = sum(files_of(path, retry).size(path) for path in paths)
        found = map_paths(spark, partial(_scan, by_path, wanted, retry), paths, size)
    numbers = {file.file: each for file, each in zip(to_scan, found, strict=True) if isinstance(each, Numbers)}
    rows = [
        (file, text, n, line)
        for file, each in numbers.items()
        for text, lines in each.texts.items()
        for n, line in enumerate(lines, 1)
    ]
    table = spark.createDataFrame(rows, "in_file string, text string, nth int, line bigint")
    nth = F.row_number().over(Window.partitionBy(quoted(FILE), quoted(RECORD)).orderBy(quoted(REASON)))
    numbered = explained.withColumn("n", nth)
    same = (
        (F.col(quoted(FILE)) == F.col("in_file"))
        & (F.col(quoted(RECORD)) == F.col("text"))
        & (F.col("n") == F.col("nth"))
    )
    joined = numbered.join(F.broadcast(table), same, "left")
    return joined.select(quoted(FILE), quoted(REASON), quoted(RECORD), "line"), numbers


def _scan(files: Mapping[str, StagedFile], wanted: Mapping[str, set[str]], retry: RetryPolicy, path: str) -> Numbers:
    staged = files[path]
    texts, blank, headers = dict[str, list[int]](), list[int](), list[int]()
    look_for, left_out = wanted.get(staged.file, set()), {line.number for line in staged.long_lines}
    blanks, number = BLANK.decode(), 0
    with (
        mapped_errors("file", path),
        open_input(path, retry) as file,
        io.TextIOWrapper(file, "utf-8-sig", errors="replace", newline=None) as lines,
    ):
        for line in lines:
            text = line.removesuffix("\n")
            number += 1
            while number in left_out:
                number += 1
            if text in look_for:
                texts.setdefault(text, []).append(number)
            elif not text.strip(blanks):
                blank.append(number)
            elif text == staged.header:
                headers.append(number)
    return Numbers(texts, blank[:MOST_NUMBERS], headers[1 : MOST_NUMBERS + 1])
