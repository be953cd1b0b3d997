"""Finds the new files of an incremental source, and the reason why each other file is skipped."""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ingest.errors import RecipeChanged
from ingest.sources.find import compute_digests
from ingest.sources.snapshot import SourceFile, SourceSnapshot, snapshot_of
from ingest.table.ledger import Ledger, read_ledger
from millrace.config import Product
from millrace.errors import InputMissing
from millrace.retry import RetryPolicy
from millrace.storage import Entry, files_of
from millrace.tables.versions import TableVersion

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

logger = logging.getLogger(__name__)

SHOWN_SKIPPED: Final = 20
WRITTEN: Final = "still being written: skipped until the next run"


@dataclass(frozen=True)
class Increment:
    """What a run adds to an incremental table.

    Attributes:
        snapshot: The new files, and the skipped files.
        recipe: Digest of the steps, contract and columns that make the rows.
        ledger: Files that the table has already; None if it is built from scratch.
        unchanged: Number of files that were read before and have not changed.
    """

    snapshot: SourceSnapshot
    recipe: str
    ledger: Ledger | None
    unchanged: int

    @property
    def summary(self) -> dict[str, object]:
        """The description of the files in the run record."""
        skipped = [{"file": path, "reason": reason} for path, reason in self.snapshot.skipped]
        return {"new_files": len(self.snapshot.files), "taken_before": self.unchanged, "skipped": skipped}


def find_ledger(parent: TableVersion | None, recipe: str, *, full: bool) -> Ledger | None:
    """The ledger of the current table; None if the table is built from scratch.

    Raises:
        RecipeChanged: The table's rows were made with another recipe.
    """
    if parent is None or full:
        return None
    ledger = read_ledger(parent)
    if ledger is None:
        raise RecipeChanged(parent.name, version=parent.version, reason="it was not made by incremental runs alone")
    if ledger.recipe != recipe:
        reason = "columns, steps, contract or functions changed since its rows were made"
        raise RecipeChanged(parent.name, version=parent.version, reason=reason)
    return ledger


def find_increment(product: Product, spark: "SparkSession | None", recipe: str, ledger: Ledger | None) -> Increment:
    """Find the files of the base source that are not in the table yet.

    Args:
        product: The product.
        spark: The session.
        recipe: Digest of the steps, contract and columns that make the rows.
        ledger: Files that the table has already.

    Raises:
        InputMissing: There is neither a file nor a table.
    """
    name = product.config.ingest.base
    section = product.config.sources[name]
    retry = RetryPolicy(product.config.store.wait_s)
    try:
        entries = product.source_files(name, retry)
    except InputMissing:
        if ledger is None:
            raise
        entries = []  # files that were read may be moved away
    known = ledger.stamps() if ledger else set()
    fresh = [entry for entry in entries if (entry.path, entry.size, entry.modified_ns) not in known]
    settled, skipped = _settled(fresh, section.settle_s)
    files = compute_digests(name, section, settled, spark, retry)
    new, not_new = _select_new(files, ledger)
    skipped += not_new
    for path, reason in skipped[:SHOWN_SKIPPED]:
        logger.info("sources.%s: skipped %s: %s", name, path, reason)
    if len(skipped) > SHOWN_SKIPPED:
        logger.info("sources.%s: skipped %d more", name, len(skipped) - SHOWN_SKIPPED)
    return Increment(snapshot_of(name, new, skipped), recipe, ledger, len(entries) - len(fresh))


def _settled(entries: Iterable[Entry], settle_s: float) -> tuple[list[Entry], list[tuple[str, str]]]:
    """Separate files that did not change in the last seconds from those that are skipped."""
    limit = (time.time() - settle_s) * 1e9
    settled, skipped = [], []
    for entry in entries:
        if settle_s and entry.modified_ns > limit:
            skipped.append((entry.path, WRITTEN))
        else:
            settled.append(entry)
    return settled, skipped


def _select_new(files: Iterable[SourceFile], ledger: Ledger | None) -> tuple[list[SourceFile], list[tuple[str, str]]]:
    """Select the files with new content; a file that changed since it was listed is skipped."""
    first = {digest: stamp[0] for digest, stamp in ledger.taken.items()} if ledger else {}
    earlier = set(first.values())
    new, skipped = [], []
    for file in files:
        if _is_written(file):
            skipped.append((file.path, WRITTEN))
        elif file.digest in first:
            skipped.append((file.path, f"the same content as {first[file.digest]}"))
        else:
            if file.path in earlier:
                logger.warning("%s was read before with other content; its rows are new rows", file.path)
            first[file.digest] = file.path
            new.append(file)
    return new, skipped


def _is_written(file: SourceFile) -> bool:
    try:
        return files_of(file.path, file.retry).entry(file.path).stamp != file.stamp
    except FileNotFoundError:
        return True
