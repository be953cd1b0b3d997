"""The ingest stage: makes a checked version of the clean table from the declared sources."""

import contextlib
import logging
import time
from typing import TYPE_CHECKING

from ingest.build import Build
from ingest.changes import function_digests, increment_of
from ingest.errors import SourceEmpty
from ingest.records import Accounts, finish, nothing_new, record_of
from ingest.sources.find import find_snapshots
from ingest.sources.load import check_not_empty
from ingest.sources.staged import stage_sources
from ingest.staging.folder import staging_folder
from ingest.table import commit
from millrace.config import Product
from millrace.failpoints import fail_here
from millrace.runs import Outcome, RunRecord
from millrace.storage import Store

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

logger = logging.getLogger(__name__)


def run(
    product: Product,
    spark: "SparkSession",
    store: Store,
    run_id: str,
    *,
    full: bool = False,
    allow_empty: bool = False,
) -> RunRecord:
    """Read, clean and check the rows, and commit them as a new version.

    If a check fails, nothing becomes visible. Otherwise the rejects are written first, and then the new version of the
    clean table. A run with the same sources, steps and contract as the current version changes nothing, and neither
    does a run of an incremental source without new files.

    Args:
        product: The product.
        spark: The session.
        store: The store of its tables.
        run_id: Id of the run.
        full: Rebuild an incremental table from all files that are there now.
        allow_empty: Commit a version without rows if the base source has none.

    Raises:
        ConfigError: An option, an expression or a function is wrong.
        InputMissing: A source does not exist or has no rows.
        DataRejected: The data broke a rule; the current version stays.
        Refused: Another writer changed the table first.
        Unavailable: Storage or Spark failed.
    """
    started = time.monotonic()
    config = product.config
    functions = function_digests(config)
    parent = commit.newest(store, config.product)
    if parent is not None and not all(file.sha256 for file in parent.files):
        commit.keep_digests(spark, store, parent, None)  # its run was killed before it stored them
    increment = increment_of(product, spark, functions, parent, full=full)
    if parent is not None and increment is not None and increment.ledger and not increment.snapshot.files:
        return nothing_new(parent, run_id, started, increment)
    fail_here("ingest.before_staging")
    accounts = Accounts()
    with accounts.in_errors(), staging_folder(store, run_id) as folder, contextlib.ExitStack() as stack:
        new = increment.snapshot if increment else None
        snapshots = find_snapshots(product, spark, folder, increment=new, allow_empty=allow_empty)
        digests = {name: found.sha256 for name, found in snapshots.items()} | functions
        key = commit.commit_key(config, digests)
        if parent is not None and parent.commit.get("commit_key") == key:
            return nothing_new(parent, run_id, started, increment)
        staged = stage_sources(product, snapshots, spark, folder)
        build = Build(config, spark, store, run_id, key, parent, increment, allow_empty, stack, accounts)
        base = config.ingest.base
        if increment is not None and not staged[base].snapshot.files and not allow_empty:
            if build.append_to is None:
                raise SourceEmpty(base, "none of its files")
            return nothing_new(build.append_to, run_id, started, increment, staged[base].bad_files)
        check_not_empty(staged, except_for=base if allow_empty else None)
        write, metadata = build.run(staged)
        record_of(config.product, metadata, run_id=run_id, outcome="failed")  # checks the counts before the commit
        fail_here("ingest.before_commit")
        version = write.commit(metadata)
        fail_here("ingest.after_commit")
        commit.keep_digests(spark, store, version, parent)
    outcome: Outcome = "committed" if version.commit["run_id"] == run_id else "already_committed"
    return finish(version, run_id, outcome, started, increment)
