"""Does the same to many files where it is quickest: here, or, for much data on HDFS, on the executors."""

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
"""Less than this is read here, before Spark would have started a Python worker."""

R = TypeVar("R")


def for_each(
    spark: "SparkSession | None", function: Callable[[str], R], paths: Sequence[str], size: int
) -> list[R | DataRejected]:
    """Call a function with every path.

    Args:
        spark: The session; without it, everything is done here.
        function: Something that can be sent to executors.
        paths: What lies on this machine is never sent away.
        size: Bytes of all of them.

    Returns:
        In the order of the paths: results, and what was wrong with a file.

    Raises:
        MillraceError: What is not a file's own fault.
    """
    attempt = partial(_attempt, function)
    results: list[R | MillraceError]
    if spark is not None and size > SPREAD_BYTES and all("://" in path for path in paths):
        context = spark.sparkContext
        with mapped_actions("looking at the files"):
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
    """Give back what went wrong as a value, so that one bad file does not hide the others."""
    try:
        return function(path)
    except MillraceError as error:
        return error
