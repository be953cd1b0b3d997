"""Finds out whether a run has anything to do: by digests of the sources, the functions and the recipe of the table."""

import contextlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ingest.records import nothing_new
from ingest.sources.find import find_snapshots
from ingest.table import commit
from ingest.table.increments import Increment, find_increment, find_ledger
from millrace.config import Config, Product
from millrace.dotted import digest_of_module
from millrace.errors import InputMissing
from millrace.runs import RunRecord
from millrace.storage import Store
from millrace.tables.versions import TableVersion

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

READ_BEFORE_SPARK: Final = 1 << 30
"""Most bytes of sources that are read before Spark starts, to find out whether there is anything to do."""


def find_done(
    product: Product, store: Store, run_id: str, *, full: bool = False, allow_empty: bool = False
) -> RunRecord | None:
    """The record of a run that would change nothing, without a Spark session.

    Returns:
        None if there is something to do, or if only a run can find out: rows of a database, or much data to read.

    Raises:
        ConfigError: A function cannot be loaded, or the recipe of an incremental table changed.
        InputMissing: A source does not exist.
        DataRejected: A file has another digest than declared.
        Unavailable: Storage failed.
    """
    started, config = time.monotonic(), product.config
    parent = commit.newest(store, config.product)
    if (
        parent is None
        or not all(file.sha256 for file in parent.files)
        or not _is_small(product, allow_empty=allow_empty)
    ):
        return None
    functions = function_digests(config)
    increment = increment_of(product, None, functions, parent, full=full)
    if increment is not None and increment.ledger:
        return None if increment.snapshot.files else nothing_new(parent, run_id, started, increment)
    new = increment.snapshot if increment else None
    snapshots = find_snapshots(product, None, "", increment=new, allow_empty=allow_empty)
    digests = {name: found.sha256 for name, found in snapshots.items()} | functions
    if parent.commit.get("commit_key") != commit.commit_key(config, digests):
        return None
    return nothing_new(parent, run_id, started, increment)


def _is_small(product: Product, *, allow_empty: bool) -> bool:
    """Whether all sources are files that this process can read in a few seconds."""
    size, ingest = 0, product.config.ingest
    for name in ingest.used_sources:
        section = product.config.sources[name]
        if section.jdbc is not None:
            return False
        may_lack = name == ingest.base and (allow_empty or section.incremental)
        with contextlib.suppress(InputMissing) if may_lack else contextlib.nullcontext():
            size += sum(entry.size for entry in product.source_files(name))
    return size <= READ_BEFORE_SPARK


def increment_of(
    product: Product,
    spark: "SparkSession | None",
    functions: Mapping[str, str],
    parent: TableVersion | None,
    *,
    full: bool,
) -> Increment | None:
    """The new files of an incremental base source; None for other sources."""
    config = product.config
    if not config.sources[config.ingest.base].incremental:
        return None
    recipe = commit.commit_key(config, functions)
    return find_increment(product, spark, recipe, find_ledger(parent, recipe, full=full))


def function_digests(config: Config) -> dict[str, str]:
    """Digests of the modules of user functions, so that an edited function counts as a new input."""
    functions = (step.call.function for step in config.ingest.steps if step.call)
    return {f"call:{function}": digest_of_module(function) for function in functions}
