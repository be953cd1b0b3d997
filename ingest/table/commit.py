"""What identifies the commit of an ingest run, the table of rejects, and the digests of data files."""

import logging
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from ingest.spark.errors import mapped_actions
from ingest.spark.executors import map_paths
from millrace.config import Config
from millrace.digests import digest_of
from millrace.errors import ArtifactNotFound
from millrace.storage import Store, digest_at, mapped_errors, uri_of
from millrace.tables import versions as tables
from millrace.tables.versions import CLEAN, REJECTS, TableVersion, find_table, table_parts

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

logger = logging.getLogger(__name__)

PLAIN: Final = {
    # The data files stay plain Parquet, for readers without Delta.
    "delta.enableDeletionVectors": "false",
    "delta.columnMapping.mode": "none",
    # Readers read whole splits, so the log needs row counts, but no minimum and maximum of every column.
    "delta.dataSkippingNumIndexedCols": "0",
}

_IGNORED_KEYS: Final = ("path", "sha256", "jdbc", "settle_s", "max_bad_files", "on_bad_file")
"""Keys of a source that do not change its rows: where and when its bytes are read. The digests cover the bytes."""


def commit_key(config: Config, digests: Mapping[str, str]) -> str:
    """A digest of everything that the result of a run depends on; two runs with equal keys have equal results.

    Args:
        config: The product; the profile's sections do not count.
        digests: Digests of the sources and of the modules of user functions.
    """
    # Without defaults: a key that a later version adds must not make every table another one.
    sources = {name: section.model_dump(mode="json", exclude_defaults=True) for name, section in config.sources.items()}
    for section in sources.values():
        for name in _IGNORED_KEYS:
            section.pop(name, None)
    ingest = config.ingest.model_dump(mode="json", by_alias=True)
    if config.ingest.upsert is None:
        del ingest["upsert"]
    parts = (config.product, "ingest", sources, ingest, config.contract, dict(digests))
    return digest_of(*parts)


def newest(store: Store, product: str) -> TableVersion | None:
    """The current version of the clean table; None if there is none."""
    try:
        return find_table(store, product, CLEAN)
    except ArtifactNotFound:
        return None


def write_rejects(frame: "DataFrame", store: Store, product: str, key: str) -> None:
    """Append the rejects of a run; a repeated run with the same key does not add them again."""
    started = time.monotonic()
    writer = frame.write.format("delta").mode("append").option("mergeSchema", "true")
    writer = writer.options(**PLAIN, txnAppId=key, txnVersion=1)
    path = uri_of(store.uri(*table_parts(product, REJECTS)))
    try:
        writer.save(path)
    except (PySparkException, Py4JError):
        # If another run with the same key wrote them first, this second write adds nothing and does not fail.
        with mapped_actions("writing the rejects"):
            writer.save(path)
    logger.info("wrote the rejects in %.1f s", time.monotonic() - started)


def keep_digests(
    spark: "SparkSession | None", store: Store, version: TableVersion, parent: TableVersion | None
) -> None:
    """Compute and store the digest of every data file that has none yet, so that readers notice a changed byte."""
    known = {file.path: file.sha256 for file in (*version.files, *(parent.files if parent else ())) if file.sha256}
    paths = [file.path for file in version.files if file.path not in known]
    if not paths and all(file.sha256 for file in version.files):
        return
    size = 0
    with mapped_errors("table", version.name):
        size = sum(store.files.size(path) for path in paths)
        found = map_paths(spark, partial(digest_at, retry=store.retry), paths, size)
    known |= {path: digest for path, digest in zip(paths, found, strict=True) if isinstance(digest, str)}
    tables.keep_digests(store, version, {file.path: known[file.path] for file in version.files})


def own_version(store: Store, product: str, key: str, parent: int | None) -> TableVersion | None:
    """The version after the parent with this commit key; newer versions may follow it."""
    current = newest(store, product)
    first = 0 if parent is None else parent + 1
    for version in range(current.version if current else -1, first - 1, -1):
        found = find_table(store, product, CLEAN, version)
        if found.commit.get("commit_key") == key:
            return found
    return None
