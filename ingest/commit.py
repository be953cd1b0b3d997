"""Writes the two tables of an ingest run: rejects first, then the clean table as one version."""

import json
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from ingest.arrange import HASH
from ingest.errors import CommitLost
from ingest.flow import DROPPED
from ingest.spark_errors import first_line, mapped_actions
from pipelines.config import Config
from pipelines.config.flow import SPLIT
from pipelines.digests import digest_of
from pipelines.errors import ArtifactNotFound, StorageError
from pipelines.storage import Store
from pipelines.tables import CLEAN, REJECTS, TableVersion, find_table, table_parts

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, DataFrameWriter

logger = logging.getLogger(__name__)

_PLAIN: Final = {
    # The data files stay plain Parquet, for readers that know nothing of Delta.
    "delta.enableDeletionVectors": "false",
    "delta.columnMapping.mode": "none",
    # Readers take whole splits: the log needs row counts, not the least and greatest value of every column.
    "delta.dataSkippingNumIndexedCols": "0",
}


def commit_key(config: Config, digests: Mapping[str, str]) -> str:
    """What a run's result depends on; two runs with equal keys have equal results.

    Args:
        config: The product; where it runs does not matter.
        digests: SHA-256 of every source file and of every user function's module.
    """
    sources = {name: section.model_dump(mode="json") for name, section in config.sources.items()}
    for section in sources.values():
        del section["path"], section["sha256"]  # the bytes count, not where they lie
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
    with mapped_actions("writing the rejects"):
        writer.save(str(store.path(*table_parts(product, REJECTS))))
    logger.info("wrote the rejects in %.1f s", time.monotonic() - started)


def write_clean(
    frame: "DataFrame",
    store: Store,
    product: str,
    metadata: Mapping[str, Any],
    parent: TableVersion | None,
) -> TableVersion:
    """Replace the clean table by kept and arranged rows, as one version.

    An exception while writing means that nobody knows: the log is read back before anything is said.

    Returns:
        The version that now holds the rows; its commit names another run if that one wrote the same first.

    Raises:
        CommitLost: Another writer replaced the table by something else.
        StorageError: The table could not be written, or does not hold what was written.
    """
    started = time.monotonic()
    key, parent_version = metadata["commit_key"], parent.version if parent else None
    rows = frame.drop(HASH, DROPPED)
    writer: DataFrameWriter = rows.write.format("delta").mode("overwrite").partitionBy(SPLIT)
    writer = writer.options(
        **_PLAIN,
        overwriteSchema="true",
        userMetadata=json.dumps(metadata),
        txnAppId=f"{key}@{parent_version}",
        txnVersion=1,
    )
    failure: Exception | None = None
    try:
        writer.save(str(store.path(*table_parts(product, CLEAN))))
    except (PySparkException, Py4JError) as error:
        failure = error
    version = newest(store, product)
    if version is None or version.commit.get("commit_key") != key:
        if failure is not None and (version.version if version else None) == parent_version:
            raise StorageError(f"writing the clean table: {first_line(failure)}") from failure
        reason = first_line(failure) if failure else "another version came after this one"
        raise CommitLost(f"{product}/{CLEAN}", parent=parent_version, reason=reason) from failure
    if version.rows_of() != metadata["rows_out"]:
        raise StorageError(
            f"version {version.version} of {version.name} holds {version.rows_of()} rows, "
            f"written were {metadata['rows_out']}"
        )
    logger.info(
        "wrote version %d of %s in %.1f s",
        version.version,
        version.name,
        time.monotonic() - started,
    )
    return version
