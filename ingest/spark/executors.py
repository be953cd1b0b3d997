"""Applies a function to many files: in this process, or, for much data on HDFS, on the executors."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from ingest.spark.errors import mapped_actions
from millrace.errors import DataRejected, MillraceError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SPREAD_BYTES: Final = 64 << 20
"""Less data than this is read in this process: it takes less time than to start a Python worker."""

R = TypeVar("R")


def map_paths(
    spark: "SparkSession | None", function: Callable[[str], R], paths: Sequence[str], size: int
) -> list[R | DataRejected]:
    """Call a function for each path.

    Args:
        spark: The session; without it, everything runs in this process.
        function: A function that can be pickled and sent to executors.
        paths: Paths of files; executors are used only if all of them are URIs.
        size: Total size of the files in bytes.

    Returns:
        For each path, in order: the result, or the `DataRejected` error of this file.

    Raises:
        MillraceError: A failure that is not caused by the content of a file, such as storage that is down.
    """
    attempt = partial(_attempt, function)
    results: list[R | MillraceError]
    if spark is not None and size > SPREAD_BYTES and all("://" in path for path in paths):
        context = spark.sparkContext
        with mapped_actions("checking the files"):
            results = context.parallelize(paths, min(len(paths), 4 * context.defaultParallelism)).map(attempt).collect()
    else:
        with ThreadPoolExecutor(min(8, os.cpu_count() or 2)) as pool:
            results = list(pool.map(attempt, paths))
    found: list[R | DataRejected] = []
    for result in results:
        if isinstance(result, MillraceError) and not isinstance(result, DataRejected):
            raise result
        found.append(result)
    return found


def _attempt(function: Callable[[str], R], path: str) -> R | MillraceError:
    """Return an error as a value, so that one bad file does not hide the others."""
    try:
        return function(path)
    except MillraceError as error:
        return error
