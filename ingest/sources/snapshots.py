"""What a run has to read: the files or rows of every source that its product uses."""

from typing import TYPE_CHECKING

from ingest.readers.jdbc import fetch
from ingest.sources.files import SourceSnapshot, find_files, snapshot_of
from ingest.staging.shape import Shape
from millrace.config import Product
from millrace.errors import InputMissing
from millrace.retry import RetryPolicy

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def find_snapshots(
    product: Product,
    spark: "SparkSession",
    folder: str,
    *,
    increment: SourceSnapshot | None = None,
    allow_empty: bool = False,
) -> dict[str, SourceSnapshot]:
    """Find the used sources' files and check their digests; fetch the rows of databases.

    Args:
        product: The product.
        spark: The session.
        folder: Staging folder, which must live as long as the rows are read.
        increment: Files of the base source, where only these are to be read.
        allow_empty: Whether the base source may have no file.

    Raises:
        InputMissing: A file is not there.
        DataRejected: A file is not the declared one; a table has other columns than declared.
    """
    snapshots = {}
    retry = RetryPolicy(product.config.store.wait_s)
    for name in product.config.ingest.used_sources:
        section = product.config.sources[name]
        is_base = name == product.config.ingest.base
        if is_base and increment is not None:
            snapshots[name] = increment
        elif section.jdbc is None:
            try:
                snapshots[name] = find_files(product, name, spark)
            except InputMissing:
                if not (is_base and allow_empty):
                    raise
                snapshots[name] = snapshot_of(name, ())
        else:
            shape = Shape(dict(section.columns), frozenset(section.optional), section.extra_columns)
            digest, staged = fetch(spark, name, section, shape, f"{folder}/{name}", retry)
            snapshots[name] = SourceSnapshot(name, (), digest, staged=tuple(staged))
    return snapshots
