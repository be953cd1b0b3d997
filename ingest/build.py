"""Builds a new version of the clean table: reads the sources, applies the steps, writes the rows and checks them.

The rows are written first, into files that no reader sees. The checks run on these files.
"""

import contextlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from ingest.checks import contract, guards
from ingest.checks.failures import ContractFailed
from ingest.checks.footers import Footers, read_footers
from ingest.checks.keys import check_key, check_new_keys, has_unique_keys
from ingest.checks.statistics import Outcomes, find_empty, find_outcomes, measure, observe, of_footers, warn_of_nulls
from ingest.cleaning.flow import DROPPED, NOT_FINITE, Flow, add, is_kept
from ingest.cleaning.steps import apply_steps, find_not_unique, uses_rows_once
from ingest.records import Accounts
from ingest.sources.load import LoadedSource, ReadOnce, check_rejected, load_sources
from ingest.sources.staged import StagedSource
from ingest.spark.columns import quoted
from ingest.spark.observed import Observed
from ingest.spark.ordered import is_in_order, keeping_order
from ingest.table import commit
from ingest.table.arrange import HASH, arrange, arrange_again, can_arrange_first, partitions_for, with_split
from ingest.table.clean import CleanWrite
from ingest.table.increments import Increment
from ingest.table.ledger import INCREMENT, next_entry
from ingest.table.split import SPLITS
from ingest.table.upsert import Upserted, replace_older
from millrace.config import Config
from millrace.config.checks.flow import SPLIT
from millrace.config.sections.ingest import UPSERT
from millrace.digests import digest_of, digest_of_code
from millrace.errors import DataRejected
from millrace.failpoints import fail_here
from millrace.storage import Store, uri_of
from millrace.tables.versions import TableVersion

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

logger = logging.getLogger(__name__)

MOST_FILES: int = 2
"""The rows are written again if there are more than this many times as many files as their number needs."""


@dataclass(frozen=True)
class _Plan:
    """The job that makes the rows.

    Attributes:
        loaded: The sources that are read already.
        read: The base source, if this job reads it.
        flow: The flow after the steps.
        observed: Its rows, with their split, and the figures that the job computes.
        entered: Most rows that the job can have.
    """

    loaded: Mapping[str, LoadedSource]
    read: ReadOnce | None
    flow: Flow
    observed: Observed
    entered: int


@dataclass(frozen=True)
class Build:
    """What one run starts from, and how it makes the rows.

    Attributes:
        config: The configuration of the product.
        spark: The session.
        store: The store of its tables.
        run_id: Id of the run.
        key: The commit key.
        parent: The current version of the clean table; None if there is none.
        increment: The new files of an incremental source; None for other sources.
        allow_empty: Whether a version without rows may be committed.
        stack: Unpersists frames, and removes files that are not committed, when it closes.
        accounts: Counts the rows as the run goes on.
    """

    config: Config
    spark: "SparkSession"
    store: Store
    run_id: str
    key: str
    parent: TableVersion | None
    increment: Increment | None
    allow_empty: bool
    stack: contextlib.ExitStack
    accounts: Accounts = field(default_factory=Accounts)

    @property
    def append_to(self) -> TableVersion | None:
        """The version that rows are appended to; None if they replace the rows of the table."""
        return self.parent if self.increment and self.increment.ledger else None

    def run(self, staged: Mapping[str, StagedSource]) -> tuple[CleanWrite, dict[str, Any]]:
        """Read, clean, write and check the rows.

        Args:
            staged: The sources.

        Returns:
            The written rows, and the metadata for `CleanWrite.commit`.

        Raises:
            ConfigError: An expression or a function is wrong.
            DataRejected: The data broke a rule.
            Unavailable: Storage or Spark failed.
        """
        started, name = time.monotonic(), self.config.ingest.base
        plan = self._plan(staged)
        loaded, flow = plan.loaded, plan.flow
        write = self.stack.enter_context(
            CleanWrite(self.spark, self.store, self.config.product, self.parent, append=self.append_to is not None)
        )
        try:
            self._write(plan.observed, write, partitions_for(plan.entered))
        except DataRejected:
            if plan.read:  # the rejected rows may say more about the data
                self._account_for({**loaded, name: plan.read.finish(self.stack)})
            raise
        if plan.read:
            loaded = {**loaded, name: plan.read.finish(self.stack)}
            self._account_for(loaded)
        left = loaded[name].good - sum(flow.filtered.values())
        outcomes = find_outcomes(plan.observed, flow, left, write.rows)
        filters = add(flow.filtered, outcomes.dropped)
        self.accounts.clean(filters, outcomes.kept)
        logger.info(
            "cleaned %d rows: %d kept, %d filtered, %d rejected, in %.1f s",
            loaded[name].rows,
            outcomes.kept,
            sum(filters.values()),
            loaded[name].rejected,
            time.monotonic() - started,
        )
        fail_here("ingest.before_checks")
        metadata = self._check(write, loaded, flow, outcomes)
        return write, metadata | self._upsert(write, metadata)

    def _plan(self, staged: Mapping[str, StagedSource]) -> _Plan:
        """Read the sources that are not read by the job that writes, and plan that job."""
        ingest = self.config.ingest
        base = staged[ingest.base]
        once = bool(base.files) and base.reader.counts_lines and uses_rows_once(ingest)
        loaded = load_sources({n: s for n, s in staged.items() if not (once and s is base)}, self.spark, self.stack)
        frames = {name: source.frame for name, source in loaded.items()}
        not_unique = find_not_unique(ingest, frames)
        if once and not_unique:  # these joins count the rows before and after
            once, loaded = False, loaded | load_sources({ingest.base: base}, self.spark, self.stack)
        read = ReadOnce(base, self.spark) if once else None
        if not read:
            self._account_for(loaded)
        frames[ingest.base] = read.frame if read else loaded[ingest.base].frame
        first = read is not None and can_arrange_first(ingest, base.columns)
        if first:
            rows = with_split(frames[ingest.base], ingest, is_marked=False)
            frames[ingest.base] = arrange(rows, partitions_for(base.rows))
        flow = apply_steps(ingest, frames, not_unique, self.stack)
        guards.check_fit(self.config.contract, flow.kept.schema)
        entered = base.rows if read else loaded[ingest.base].good - sum(flow.filtered.values())
        observed = observe(flow.frame if first else with_split(flow.frame, ingest), flow)
        return _Plan(loaded, read, flow, observed, entered)

    def _account_for(self, loaded: Mapping[str, LoadedSource]) -> None:
        """Count the rows of the sources, and write the rejects before any check: a refused run needs them, too.

        Raises:
            TooManyRejected: A source has more malformed rows than the product allows.
        """
        self.accounts.read(loaded[self.config.ingest.base])
        fail_here("ingest.before_rejects")
        frames = [source.rejects for source in loaded.values() if source.rejects is not None]
        if frames:
            labels = [F.lit(self.key).alias("commit_key"), F.lit(self.run_id).alias("run_id")]
            frame = reduce(lambda left, right: left.unionAll(right), frames).select("*", *labels)
            commit.write_rejects(frame, self.store, self.config.product, self.key)
        check_rejected(self.config, loaded)

    def _write(self, observed: Observed, write: CleanWrite, partitions: int) -> None:
        key = self.config.ingest.key_columns
        rows = observed.frame.where(is_kept()).drop(DROPPED, NOT_FINITE)
        with keeping_order(self.spark):
            if not is_in_order(rows, SPLIT):
                rows = arrange(rows, partitions)
            # An appended delivery must have the columns of the table, in their order.
            names = [name for name in rows.columns if name not in (HASH, SPLIT)]
            write.write(rows.select(*map(quoted, names), SPLIT))
            if partitions > MOST_FILES * partitions_for(write.rows):
                write.write(arrange_again(write.read(), key, partitions_for(write.rows)))

    def _check(
        self, write: CleanWrite, loaded: Mapping[str, LoadedSource], flow: Flow, outcomes: Outcomes
    ) -> dict[str, Any]:
        """Run all checks, and return the metadata of the commit."""
        config, base = self.config, loaded[self.config.ingest.base]
        filters = add(flow.filtered, outcomes.dropped)
        counts = write.rows_by(SPLIT)
        splits = {name: counts.get(name, 0) for name in SPLITS}
        guards.check_filtered(filters, base.good, config.ingest)
        rows, key = write.read(), config.ingest.key_columns
        columns = [name for name in rows.columns if name != SPLIT]
        footers = read_footers(write.paths, write.bytes, key, self.spark, self.store.retry)
        if base.rows or not self.allow_empty:
            self._check_rows(rows, outcomes.kept, splits, footers)
        else:
            logger.warning("the base source has no rows: no checks run, and the new version is empty")
        return {
            "commit_key": self.key,
            "run_id": self.run_id,
            "contract_sha256": digest_of(config.contract),
            "code_sha256": digest_of_code(("millrace", "ingest")),
            "sources": {name: source.summary() for name, source in loaded.items()},
            "rows_in": base.rows,
            "rows_out": outcomes.kept,
            "rejected": base.rejected,
            "filtered": sum(filters.values()),
            "filters": filters,
            "splits": splits,
            "split": config.ingest.split.model_dump(mode="json"),
            **warn_of_nulls(outcomes, find_empty(rows, columns, footers, outcomes.kept)),
            **({} if base.rows else {"empty": True}),
            **self._increment_metadata(base, outcomes.kept),
        }

    def _check_rows(self, rows: "DataFrame", count: int, splits: Mapping[str, int], footers: Footers | None) -> None:
        """Check the new rows alone, so that good rows in the table cannot hide a bad delivery.

        Raises:
            DataRejected: A check failed.
        """
        config, old = self.config, self.append_to
        label, key = config.features.label.column, config.ingest.key_columns
        known = footers if sum(splits.values()) == count else None  # a row without a split is an error
        statistics = of_footers(known, count, key, config.contract, label) if known else None
        statistics = statistics or measure(rows, count, key, config.contract, label)
        failures = guards.find_failures(config.contract, statistics, label, old.rows_of() if old else 0)
        if not failures and count:
            check_key(rows, key, statistics, is_unique=has_unique_keys(self.spark, config.ingest.split, known))
            if old and not config.ingest.upsert:
                table = self.spark.read.format("delta").option("versionAsOf", old.version).load(uri_of(old.uri))
                check_new_keys(rows, table, key)
            for name, of_split in splits.items():
                if not of_split and not old:
                    logger.warning("split '%s' holds no rows", name)
            if missing := count - statistics.non_null.get(label, count):
                message = "the label '%s' is missing in %d rows: training refuses them; filter them"
                logger.warning(message, label, missing)
            failures = contract.run_suite(config.contract, rows, config.product, key)
        if failures:
            raise ContractFailed(config.product, failures)

    def _upsert(self, write: CleanWrite, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Replace older rows of an incremental table, and return the changed counts for the commit."""
        upsert, old = self.config.ingest.upsert, self.append_to
        if upsert is None or not write.rows_in_files:
            return {}
        found = replace_older(write, self.config.ingest.key_columns, upsert) if old else Upserted(0, {})
        left_out = sum(found.older.values())
        filters = add(metadata["filters"], {UPSERT: left_out})
        kept = metadata["rows_out"] - left_out
        self.accounts.clean(filters, kept)
        return {
            "rows_out": kept,
            "filtered": sum(filters.values()),
            "filters": filters,
            "splits": {name: count - found.older.get(name, 0) for name, count in metadata["splits"].items()},
            "replaced": found.replaced,
            "rows_total": metadata["rows_total"] - left_out - found.replaced,
        }

    def _increment_metadata(self, base: LoadedSource, kept: int) -> dict[str, Any]:
        """The additional commit metadata of an incremental table."""
        if self.increment is None:
            return {}
        entry = next_entry(self.increment.recipe, self.increment.ledger, base.snapshot.files)
        before = self.append_to.rows_of() if self.append_to else 0
        return {INCREMENT: entry, "rows_total": before + kept}
