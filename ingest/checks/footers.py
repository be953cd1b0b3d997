"""What the written files say about their rows: Parquet's own counts of nulls, and whether equal keys lie side by side.

The footers cost a few milliseconds; Spark would read the columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingest.spark.executors import map_paths
from millrace.errors import DataRejected
from millrace.retry import RetryPolicy
from millrace.storage import mapped_errors, open_input

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_FLOATS: Final = ("FLOAT", "DOUBLE")


@dataclass(frozen=True)
class Footers:
    """Facts about some files together.

    Attributes:
        nulls: Number of nulls by column; a nested column is missing, and so is one without statistics.
        not_finite: Float columns that may hold NaN or an infinite number.
        has_repeated_keys: Whether two rows with equal keys lie side by side.
    """

    nulls: Mapping[str, int]
    not_finite: frozenset[str] = frozenset()
    has_repeated_keys: bool = False

    def __add__(self, other: "Footers") -> "Footers":
        both = self.nulls.keys() & other.nulls.keys()
        return Footers(
            {name: self.nulls[name] + other.nulls[name] for name in both},
            self.not_finite | other.not_finite,
            self.has_repeated_keys or other.has_repeated_keys,
        )


def read_footers(
    paths: Sequence[str], size: int, key: Sequence[str], spark: "SparkSession", retry: RetryPolicy
) -> Footers | None:
    """Read the footers and the key's columns of files.

    Args:
        paths: The files, each sorted so that equal keys lie side by side.
        size: Their size in bytes.
        key: The key's columns.
        spark: The session; much data is read on its executors.
        retry: The policy for reading the files.

    Returns:
        None if there is no file, or pyarrow cannot read one.
    """
    found = map_paths(spark, partial(_read, tuple(key), retry), paths, size)
    if not found or any(isinstance(each, DataRejected) or each is None for each in found):
        return None
    return reduce(lambda left, right: left + right, [each for each in found if isinstance(each, Footers)])


def _read(key: tuple[str, ...], retry: RetryPolicy, path: str) -> Footers | None:
    with mapped_errors("file", path), open_input(path, retry) as source:
        try:
            with pq.ParquetFile(source, page_checksum_verification=True) as file:
                nulls, not_finite = _facts(file.metadata)
                return Footers(nulls, not_finite, _has_repeated(file.read(list(key))))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return None


def _facts(metadata: Any) -> tuple[dict[str, int], frozenset[str]]:
    nulls, unknown, not_finite = dict[str, int](), set[str](), set[str]()
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(number)
            name, statistics = chunk.path_in_schema, chunk.statistics
            if statistics is None or not statistics.has_null_count:
                unknown.add(name)
                continue
            nulls[name] = nulls.get(name, 0) + statistics.null_count
            if chunk.physical_type in _FLOATS and not _is_finite(statistics, chunk.num_values):
                not_finite.add(name)
    return {name: count for name, count in nulls.items() if name not in unknown}, frozenset(not_finite)


def _is_finite(statistics: Any, values: int) -> bool:
    """Whether no value is NaN or infinite; Parquet's writer leaves out minimum and maximum if there is a NaN."""
    if statistics.null_count == values:
        return True
    return bool(statistics.has_min_max and abs(statistics.min) < float("inf") and abs(statistics.max) < float("inf"))


def _has_repeated(keys: pa.Table) -> bool:
    """Whether a row equals the one before it."""
    if keys.num_rows < 2:  # noqa: PLR2004
        return False
    equal = [pc.equal(column.slice(1), column.slice(0, len(column) - 1)) for column in keys.columns]
    return bool(pc.any(reduce(pc.and_, equal)).as_py())
