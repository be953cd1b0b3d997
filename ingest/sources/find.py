"""Finds what a run has to read: the files or database rows of every source that the product uses."""

import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from ingest.errors import DigestMismatch
from ingest.readers.jdbc import fetch
from ingest.sources.snapshot import SourceFile, SourceSnapshot, snapshot_of
from ingest.spark.executors import map_paths
from ingest.staging.shape import Shape
from millrace.config import Product
from millrace.config.sections.columns import Column
from millrace.config.sections.sources import Source
from millrace.errors import DataRejected, InputMissing
from millrace.retry import RetryPolicy
from millrace.storage import Entry, digest_at, mapped_errors

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_PARTITION_FOLDER: Final = re.compile(r"([^=]+)=(.+)")
NO_VALUE: Final = "__HIVE_DEFAULT_PARTITION__"
"""Hive's name for the folder of rows whose partition column is null."""


def find_snapshots(
    product: Product,
    spark: "SparkSession | None",
    folder: str,
    *,
    increment: SourceSnapshot | None = None,
    allow_empty: bool = False,
) -> dict[str, SourceSnapshot]:
    """Find the files of the used sources and check their digests; fetch the rows of databases.

    Args:
        product: The product.
        spark: The session; only sources that are files can be found without it.
        folder: Staging folder; it must exist as long as the rows are read.
        increment: Files of the base source, if only these are read.
        allow_empty: Whether the base source may have no file.

    Raises:
        InputMissing: A file does not exist.
        DataRejected: A file has another digest than declared, or a table has other columns than declared.
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
            if spark is None:
                raise ValueError(f"source {name} is a database, which only a session can read")
            digest, staged = fetch(spark, name, section, Shape.of(section), f"{folder}/{name}", retry)
            snapshots[name] = SourceSnapshot(name, (), digest, staged=tuple(staged))
    return snapshots


def find_files(product: Product, name: str, spark: "SparkSession | None" = None) -> SourceSnapshot:
    """Find the files of a source and compute their digests.

    Raises:
        InputMissing: A file does not exist.
        DigestMismatch: A file has another digest than declared.
    """
    section = product.config.sources[name]
    retry = RetryPolicy(product.config.store.wait_s)
    files = compute_digests(name, section, product.source_files(name, retry), spark, retry)
    declared = section.sha256
    for file in files:
        if declared is not None and file.sha256 != declared:
            raise DigestMismatch(name, file.path, expected=declared, found=file.sha256)
    return snapshot_of(name, files)


def compute_digests(
    name: str, section: Source, entries: list[Entry], spark: "SparkSession | None", retry: RetryPolicy
) -> list[SourceFile]:
    """Read each listed file once and compute its digest."""
    paths = [entry.path for entry in entries]
    found = map_paths(spark, partial(sha256_at, retry), paths, sum(entry.size for entry in entries))
    files = []
    for entry, digest in zip(entries, found, strict=True):
        if isinstance(digest, DataRejected):
            raise digest
        values = values_of(entry.path, section.columns)
        files.append(SourceFile(name, entry.path, digest, entry.stamp, values, retry))
    return files


def sha256_at(retry: RetryPolicy, path: str) -> str:
    """Compute the SHA-256 of a file on any supported file system."""
    with mapped_errors("file", path):
        return digest_at(path, retry)


def values_of(path: str, columns: Mapping[str, Column]) -> dict[str, str | None]:
    """Read the values of declared columns from the names of the folders above a file."""
    parts = filter(None, map(_PARTITION_FOLDER.fullmatch, path.split("/")[:-1]))
    names = {column.in_file(name): name for name, column in columns.items()}
    found = {names[key]: unquote(part[2]) for part in parts if (key := unquote(part[1])) in names}
    return {name: None if value == NO_VALUE else value for name, value in found.items()}
