"""The ingest stage: makes a checked version of the clean table from the declared sources."""

import contextlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from ingest.changes import function_digests, increment_of
from ingest.checks import contract, guards
from ingest.checks.failures import ContractFailed
from ingest.checks.keys import check_key, check_new_keys
from ingest.checks.statistics import Statistics, find_empty, measure
from ingest.cleaning.flow import DROPPED, NOT_FINITE, add, is_kept
from ingest.cleaning.steps import apply_steps
from ingest.errors import SourceEmpty
from ingest.records import Accounts, finish, nothing_new, record_of
from ingest.sources.find import find_snapshots
from ingest.sources.load import LoadedSource, check_rejected, load_sources
from ingest.sources.staged import stage_sources
from ingest.staging.folder import staging_folder
from ingest.table import commit
from ingest.table.arrange import arrange, partitions_for, sort
from ingest.table.increments import Increment
from ingest.table.ledger import INCREMENT, next_entry
from millrace.config import Config, Product
from millrace.digests import digest_of, digest_of_code
from millrace.failpoints import fail_here
from millrace.runs import Outcome, RunRecord
from millrace.storage import Store
from millrace.tables.versions import TableVersion

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Inputs:
    """What one run starts from.

    Attributes:
        config: The configuration of the product.
        spark: The session.
        parent: The current version of the clean table; None if there is none.
        increment: The new files of an incremental source; None for other sources.
        allow_empty: Whether a version without rows may be committed.
        accounts: Counts the rows as the run goes on.
    """

    config: Config
    spark: "SparkSession"
    parent: TableVersion | None
    increment: Increment | None
    allow_empty: bool
    accounts: Accounts

    @property
    def append_to(self) -> TableVersion | None:
        """The version that rows are appended to; None if they replace the rows of the table."""
        return self.parent if self.increment and self.increment.ledger else None


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
    accounts = Accounts()
    inputs = _Inputs(config, spark, parent, increment, allow_empty, accounts)
    fail_here("ingest.before_staging")
    with accounts.in_errors(), staging_folder(store, run_id) as folder, contextlib.ExitStack() as stack:
        new = increment.snapshot if increment else None
        snapshots = find_snapshots(product, spark, folder, increment=new, allow_empty=allow_empty)
        digests = {name: found.sha256 for name, found in snapshots.items()} | functions
        key = commit.commit_key(config, digests)
        if parent is not None and parent.commit.get("commit_key") == key:
            return nothing_new(parent, run_id, started, increment)
        staged = stage_sources(product, snapshots, spark, folder)
        if increment is not None and not staged[config.ingest.base].snapshot.files and not allow_empty:
            if inputs.append_to is None:
                raise SourceEmpty(config.ingest.base, "none of its files")
            return nothing_new(inputs.append_to, run_id, started, increment, staged[config.ingest.base].bad_files)
        sources = load_sources(product, staged, spark, stack, allow_empty=allow_empty)
        accounts.read(sources[config.ingest.base])
        fail_here("ingest.before_rejects")
        # Before the checks: the rejects of a refused run have to be read, too.
        _write_rejects(config, sources, store, key, run_id)
        check_rejected(config, sources)
        rows, metadata = _clean(inputs, sources, stack)
        metadata = {"commit_key": key, "run_id": run_id, **metadata}
        record_of(config.product, metadata, run_id=run_id, outcome="failed")  # checks the counts before the commit
        fail_here("ingest.before_commit")
        version = commit.write_clean(rows, store, config.product, metadata, parent, append=inputs.append_to is not None)
        fail_here("ingest.after_commit")
        commit.keep_digests(spark, store, version, parent)
    outcome: Outcome = "committed" if version.commit["run_id"] == run_id else "already_committed"
    return finish(version, run_id, outcome, started, increment)


def _clean(
    inputs: _Inputs, sources: Mapping[str, LoadedSource], stack: contextlib.ExitStack
) -> tuple["DataFrame", dict[str, Any]]:
    """Apply the steps, the guards and the contract.

    Returns:
        The rows of the new version, persisted and arranged, and the metadata of its commit.
    """
    started = time.monotonic()
    config = inputs.config
    base = sources[config.ingest.base]
    flow = apply_steps(config.ingest, sources, stack)
    guards.check_fit(config.contract, flow.kept.schema)
    entered = base.rows - base.rejected - sum(flow.filtered.values())
    frame = arrange(flow.frame, config.ingest, entered).persist()
    stack.callback(frame.unpersist)
    fail_here("ingest.before_checks")
    statistics = measure(frame, flow, config.ingest.key_columns, config.contract, config.features.label)
    filters = add(flow.filtered, {name: statistics.dropped[name] for name in flow.filters})
    inputs.accounts.clean(filters, statistics.kept)
    logger.info(
        "cleaned %d rows: %d kept, %d filtered, %d rejected, in %.1f s",
        base.rows,
        statistics.kept,
        sum(filters.values()),
        base.rejected,
        time.monotonic() - started,
    )
    merging = {step.aggregate.name for step in config.ingest.steps if step.aggregate}
    dropping = {name: count for name, count in filters.items() if name not in merging}
    merged = sum(count for name, count in filters.items() if name in merging)
    guards.check_filtered(dropping, base.rows - base.rejected - merged, config.ingest.max_filtered)
    rows = frame.where(is_kept()).drop(NOT_FINITE)
    if base.rows or not inputs.allow_empty:
        _check(inputs, rows, statistics)
    else:
        logger.warning("the base source has no rows: no checks run, and the new version is empty")
    if partitions_for(statistics.kept) != partitions_for(entered):
        rows = sort(rows, config.ingest.key_columns, partitions_for(statistics.kept))
    return rows, {
        "contract_sha256": digest_of(config.contract),
        "code_sha256": digest_of_code(("millrace", "ingest")),
        "sources": {name: source.summary() for name, source in sources.items()},
        "rows_in": base.rows,
        "rows_out": statistics.kept,
        "rejected": base.rejected,
        "filtered": sum(filters.values()),
        "filters": filters,
        "splits": dict(statistics.splits),
        "split": config.ingest.split.model_dump(mode="json"),
        **_warn_of_nulls(statistics, find_empty(rows, flow.columns)),
        **({} if base.rows else {"empty": True}),
        **_increment_metadata(inputs, base, statistics.kept),
    }


def _warn_of_nulls(statistics: Statistics, empty: list[str]) -> dict[str, Any]:
    """Log the values that became null and the columns without values, and return both for the run record."""
    not_finite = {name: count for name, count in statistics.replaced.items() if count}
    for name, count in not_finite.items():
        logger.warning("column '%s': %d values were NaN or infinite and became null", name, count)
    if empty:
        logger.warning("columns without a single value: %s", ", ".join(empty))
    return {"not_finite": not_finite, "empty_columns": empty}


def _increment_metadata(inputs: _Inputs, base: LoadedSource, kept: int) -> dict[str, Any]:
    """The additional commit metadata of an incremental table."""
    if inputs.increment is None:
        return {}
    entry = next_entry(inputs.increment.recipe, inputs.increment.ledger, base.snapshot.files)
    before = inputs.append_to.rows_of() if inputs.append_to else 0
    return {INCREMENT: entry, "rows_total": before + kept}


def _check(inputs: _Inputs, rows: "DataFrame", statistics: Statistics) -> None:
    """Check the new rows alone, so that good rows in the table cannot hide a bad delivery.

    Raises:
        DataRejected: A check failed.
    """
    config, old = inputs.config, inputs.append_to
    before = old.rows_of() if old else 0
    failures = guards.find_failures(config.contract, statistics, config.features.label, before)
    if not failures and statistics.kept:
        check_key(rows, config.ingest.key_columns, statistics)
        if old:
            table = inputs.spark.read.format("delta").option("versionAsOf", old.version).load(old.uri)
            check_new_keys(rows, table, config.ingest.key_columns)
        for name, count in statistics.splits.items():
            if not count and not old:
                logger.warning("split '%s' holds no rows", name)
        label = config.features.label
        if missing := statistics.kept - statistics.non_null.get(label, statistics.kept):
            logger.warning("the label '%s' is missing in %d rows: training refuses them; filter them", label, missing)
        failures = contract.run_suite(config.contract, rows.drop(DROPPED), config.product, config.ingest.key_columns)
    if failures:
        raise ContractFailed(config.product, failures)


def _write_rejects(config: Config, sources: Mapping[str, LoadedSource], store: Store, key: str, run_id: str) -> None:
    frames = [source.rejects for source in sources.values() if source.rejects is not None]
    if not frames:
        return
    labels = [F.lit(key).alias("commit_key"), F.lit(run_id).alias("run_id")]
    frame = reduce(lambda left, right: left.unionAll(right), frames).select("*", *labels)
    commit.write_rejects(frame, store, config.product, key)
