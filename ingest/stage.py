"""The ingest stage: from declared sources to one checked version of the clean table."""

import contextlib
import logging
import time
from collections.abc import Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from ingest import commit, contract, guards
from ingest.arrange import arrange, partitions_for, sort
from ingest.errors import ContractFailed
from ingest.flow import DROPPED, add, is_kept
from ingest.sources import Source, find_files, load_sources
from ingest.staging import staging_folder
from ingest.steps import apply_steps
from pipelines.config import Config, Product
from pipelines.config.dotted import digest_of_module
from pipelines.digests import digest_of, digest_of_code
from pipelines.failpoints import fail_here
from pipelines.runs import Outcome, RunRecord
from pipelines.storage import Store
from pipelines.tables import TableVersion

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

logger = logging.getLogger(__name__)

STAGE = "ingest"


def run(product: Product, spark: "SparkSession", store: Store, run_id: str) -> RunRecord:
    """Read, clean, check and commit.

    Nothing becomes visible unless every check passed; then the rejects, then the clean table's new version. A run
    with the same sources, steps and contract as the current version changes nothing.

    Raises:
        ConfigError: An option, an expression or a function is wrong.
        InputMissing: A source is not there or holds no rows.
        DataRejected: The data broke a rule; the current version stays.
        Refused: Another writer was faster.
        StorageError: Storage or Spark failed.
    """
    started = time.monotonic()
    config = product.config
    files = find_files(product)
    digests = {name: file.sha256 for name, file in files.items()} | _function_digests(config)
    key = commit.commit_key(config, digests)
    parent = commit.newest(store, config.product)
    if parent is not None and parent.commit.get("commit_key") == key:
        logger.info("nothing new: version %d holds this already", parent.version)
        return _finish(parent, run_id, "already_committed", started)
    with staging_folder(store, run_id) as folder, contextlib.ExitStack() as stack:
        sources = load_sources(product, files, spark, folder, stack)
        rows, metadata = _clean(config, sources, stack)
        metadata = {"commit_key": key, "run_id": run_id, **metadata}
        _record(config.product, metadata, run_id=run_id, outcome="failed")  # its accounts are checked before the commit
        fail_here("ingest.before_rejects")
        _write_rejects(config, sources, store, metadata)
        fail_here("ingest.before_commit")
        version = commit.write_clean(rows, store, config.product, metadata, parent)
    outcome: Outcome = "committed" if version.commit["run_id"] == run_id else "already_committed"
    return _finish(version, run_id, outcome, started)


def _function_digests(config: Config) -> dict[str, str]:
    """Digests of the modules of user functions: an edited function is a new input."""
    functions = (step.call.function for step in config.ingest.steps if step.call)
    return {f"call:{function}": digest_of_module(function) for function in functions}


def _clean(
    config: Config, sources: Mapping[str, Source], stack: contextlib.ExitStack
) -> tuple["DataFrame", dict[str, Any]]:
    """Steps, guards and contract.

    Returns:
        The rows of the new version, persisted and arranged, and what its commit says of them.
    """
    started = time.monotonic()
    base = sources[config.ingest.base]
    flow = apply_steps(config.ingest, sources, stack)
    guards.check_fit(config.contract, flow.kept.schema)
    entered = base.rows - base.rejected - sum(flow.filtered.values())
    frame = arrange(flow.frame, config.ingest, entered).persist()
    stack.callback(frame.unpersist)
    statistics = guards.measure(frame, flow.filters, config.ingest.key, config.contract)
    filters = add(flow.filtered, {name: statistics.dropped[name] for name in flow.filters})
    logger.info(
        "cleaned %d rows: %d kept, %d filtered, %d rejected, in %.1f s",
        base.rows,
        statistics.kept,
        sum(filters.values()),
        base.rejected,
        time.monotonic() - started,
    )
    rows = frame.where(is_kept())
    _check(config, rows, statistics)
    if partitions_for(statistics.kept) != partitions_for(entered):
        rows = sort(rows, config.ingest.key, partitions_for(statistics.kept))
    return rows, {
        "contract_sha256": digest_of(config.contract),
        "code_sha256": digest_of_code(("pipelines", "ingest")),
        "sources": {name: source.summary() for name, source in sources.items()},
        "rows_in": base.rows,
        "rows_out": statistics.kept,
        "rejected": base.rejected,
        "filtered": sum(filters.values()),
        "filters": filters,
        "splits": dict(statistics.splits),
    }


def _check(config: Config, rows: "DataFrame", statistics: guards.Statistics) -> None:
    failures = guards.find_failures(config.contract, statistics)
    if not failures:
        guards.check_key(rows, config.ingest.key, statistics)
        for name, count in statistics.splits.items():
            if not count:
                logger.warning("split '%s' holds no rows", name)
        failures = contract.run_suite(config.contract, rows.drop(DROPPED), config.product)
    if failures:
        raise ContractFailed(config.product, failures)


def _write_rejects(config: Config, sources: Mapping[str, Source], store: Store, metadata: Mapping[str, Any]) -> None:
    frames = [source.rejects for source in sources.values() if source.rejects is not None]
    if not frames:
        return
    labels = [F.lit(metadata[name]).alias(name) for name in ("commit_key", "run_id")]
    frame = reduce(lambda left, right: left.unionAll(right), frames).select("*", *labels)
    commit.write_rejects(frame, store, config.product, metadata["commit_key"])


def _finish(version: TableVersion, run_id: str, outcome: Outcome, started: float) -> RunRecord:
    product = version.name.partition("/")[0]
    record = _record(product, version.commit, run_id=run_id, outcome=outcome)
    told = {*record.model_dump(), "run_id"}
    return record.model_copy(
        update={
            "version": version.version,
            "seconds": round(time.monotonic() - started, 3),
            "reason": "nothing new" if outcome == "already_committed" else "",
            "details": {name: value for name, value in version.commit.items() if name not in told},
        }
    )


def _record(product: str, commit: Mapping[str, Any], *, run_id: str, outcome: Outcome) -> RunRecord:
    """The record of a commit, its accounts checked."""
    counts = {name: commit[name] for name in ("rows_in", "rows_out", "rejected", "filtered", "filters")}
    return RunRecord(stage=STAGE, run_id=run_id, product=product, outcome=outcome, **counts).check_accounts()
