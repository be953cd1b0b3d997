"""Writes the two tables of an ingest run: rejects first, then the clean table as one version."""

import json
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from ingest.cleaning.flow import DROPPED, NOT_FINITE
from ingest.errors import CommitLost
from ingest.spark.errors import first_line, mapped_actions, space_hint
from ingest.spark.executors import map_paths
from ingest.table.arrange import HASH
from millrace.config import Config
from millrace.config.checks.flow import SPLIT
from millrace.digests import digest_of
from millrace.errors import ArtifactNotFound, StorageError
from millrace.storage import Store, digest_at, mapped_errors
from millrace.tables import versions as tables
from millrace.tables.versions import CLEAN, REJECTS, TableVersion, find_table, table_parts

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, DataFrameWriter, SparkSession

logger = logging.getLogger(__name__)

TXN_APP: Final = "millrace.ingest"
"""Delta transaction id of every write of a clean table: of two that start from one version, one commits."""

_PLAIN: Final = {
    # The data files stay plain Parquet, for readers that know nothing of Delta.
    "delta.enableDeletionVectors": "false",
    "delta.columnMapping.mode": "none",
    # Readers take whole splits: the log needs row counts, not the least and greatest value of every column.
    "delta.dataSkippingNumIndexedCols": "0",
}
_CLEAN: Final = {
    **_PLAIN,
    # The log says which files were taken, for ever.
    "delta.enableExpiredLogCleanup": "false",
}

_WHERE: Final = ("path", "sha256", "jdbc", "settle_s", "max_bad_files", "on_bad_file")
"""Keys of a source that say where its bytes lie, or when and how carefully they are taken; only the bytes count."""


def commit_key(config: Config, digests: Mapping[str, str]) -> str:
    """What a run's result depends on; two runs with equal keys have equal results.

    Args:
        config: The product; where it runs does not matter.
        digests: SHA-256 of every source file and of every user function's module.
    """
    sources = {name: section.model_dump(mode="json") for name, section in config.sources.items()}
    for section in sources.values():
        for name in _WHERE:
            section.pop(name)
    parts = (config.product, "ingest", sources, config.ingest, config.contract, dict(digests))
    return digest_of(*parts)


def newest(store: Store, product: str) -> TableVersion | None:
    """The clean table's current version, if there is one."""
    try:
        return find_table(store, product, CLEAN)
    except ArtifactNotFound:
        return None


def write_rejects(frame: "DataFrame", store: Store, product: str, key: str) -> None:
    """Append the run's rejects, once however often the run is repeated."""
    started = time.monotonic()
    writer = frame.write.format("delta").mode("append").option("mergeSchema", "true")
    writer = writer.options(**_PLAIN, txnAppId=key, txnVersion=1)
    path = store.uri(*table_parts(product, REJECTS))
    try:
        writer.save(path)
    except (PySparkException, Py4JError):
        # Perhaps another run with the same key was first; then the same write adds nothing, and does not fail.
        with mapped_actions("writing the rejects"):
            writer.save(path)
    logger.info("wrote the rejects in %.1f s", time.monotonic() - started)


def write_clean(
    frame: "DataFrame",
    store: Store,
    product: str,
    metadata: Mapping[str, Any],
    parent: TableVersion | None,
    *,
    append: bool = False,
) -> TableVersion:
    """Replace the clean table by kept and arranged rows, or add them to it, as one version.

    An exception while writing means that nobody knows: the log is read back before anything is said.

    The commit is fenced: its number in Delta's record of transactions is one more than that of the version it follows,
    and Delta leaves out a write whose number is not greater than the last one's. So a run that stood still while
    another wrote the table changes nothing when it wakes up.

    Args:
        frame: The rows.
        store: Where the table lies.
        product: Whose table it is.
        metadata: What the commit records.
        parent: The version that the run started from.
        append: Add to the parent's rows instead of replacing them.

    Returns:
        The version that now holds the rows; its commit names another run if that one wrote the same first.

    Raises:
        CommitLost: Another writer replaced the table by something else.
        StorageError: The table could not be written, or does not hold what was written.
    """
    started = time.monotonic()
    key, parent_version = metadata["commit_key"], parent.version if parent else None
    rows = frame.drop(HASH, DROPPED, NOT_FINITE)
    writer: DataFrameWriter = (
        rows.write.format("delta")
        .partitionBy(SPLIT)
        .options(
            **_CLEAN,
            userMetadata=json.dumps(metadata),
            txnAppId=TXN_APP,
            txnVersion=0 if parent is None else parent.version + 1,
        )
    )
    writer = writer.mode("append") if append else writer.mode("overwrite").option("overwriteSchema", "true")
    expected = metadata["rows_out"] + (parent.rows_of() if append and parent else 0)
    failure: Exception | None = None
    try:
        writer.save(store.uri(*table_parts(product, CLEAN)))
    except (PySparkException, Py4JError) as error:
        failure = error
    version = _own(store, product, key, parent_version)
    if version is None:
        current = newest(store, product)
        if failure is not None and (current.version if current else None) == parent_version:
            reason = first_line(failure)
            raise StorageError(f"writing the clean table: {reason}", hint=space_hint(reason)) from failure
        reason = first_line(failure) if failure else "another version came after this one"
        raise CommitLost(f"{product}/{CLEAN}", parent=parent_version, reason=reason) from failure
    if version.rows_of() != expected:
        raise StorageError(
            f"version {version.version} of {version.name} holds {version.rows_of()} rows, written were {expected}"
        )
    logger.info(
        "wrote version %d of %s in %.1f s",
        version.version,
        version.name,
        time.monotonic() - started,
    )
    return version


def keep_digests(
    spark: "SparkSession | None", store: Store, version: TableVersion, parent: TableVersion | None
) -> None:
    """Take the digest of every data file that has none yet, so that readers notice each changed byte."""
    known = {file.path: file.sha256 for file in (*version.files, *(parent.files if parent else ())) if file.sha256}
    paths = [file.path for file in version.files if file.path not in known]
    if not paths and all(file.sha256 for file in version.files):
        return
    size = 0
    with mapped_errors("table", version.name):
        size = sum(store.files.size(path) for path in paths)
        found = map_paths(spark, digest_at, paths, size)
    known |= {path: digest for path, digest in zip(paths, found, strict=True) if isinstance(digest, str)}
    tables.keep_digests(store, version, {file.path: known[file.path] for file in version.files})


def _own(store: Store, product: str, key: str, parent: int | None) -> TableVersion | None:
    """The version after the parent that a run with this key committed; others may have come since."""
    current = newest(store, product)
    first = 0 if parent is None else parent + 1
    for version in range(current.version if current else -1, first - 1, -1):
        found = find_table(store, product, CLEAN, version)
        if found.commit.get("commit_key") == key:
            return found
    return None
