"""Which files of an incremental source are new, and why the others are left alone."""

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
from millrace.storage import Entry, files_of
from millrace.tables.versions import TableVersion

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

logger = logging.getLogger(__name__)

SHOWN_SKIPPED: Final = 20
WRITTEN: Final = "still being written: left for the next run"


@dataclass(frozen=True)
class Increment:
    """What a run adds to a table.

    Attributes:
        snapshot: The new files, and those that are skipped.
        recipe: Digest of how their rows are made.
        ledger: What the table holds; None when it is made anew.
        unchanged: Files that were taken before and are still what they were.
    """

    snapshot: SourceSnapshot
    recipe: str
    ledger: Ledger | None
    unchanged: int

    @property
    def summary(self) -> dict[str, object]:
        """What the run's record says of the files."""
        skipped = [{"file": path, "reason": reason} for path, reason in self.snapshot.skipped]
        return {"new_files": len(self.snapshot.files), "taken_before": self.unchanged, "skipped": skipped}


def find_ledger(parent: TableVersion | None, recipe: str, *, full: bool) -> Ledger | None:
    """What the table that is there holds already; nothing when it is made anew.

    Raises:
        RecipeChanged: Its rows were made in another way.
    """
    if parent is None or full:
        return None
    ledger = read_ledger(parent)
    if ledger is None:
        raise RecipeChanged(parent.name, version=parent.version, reason="it was not made from increments alone")
    if ledger.recipe != recipe:
        reason = "columns, steps, contract or functions changed since its rows were made"
        raise RecipeChanged(parent.name, version=parent.version, reason=reason)
    return ledger


def find_increment(product: Product, spark: "SparkSession | None", recipe: str, ledger: Ledger | None) -> Increment:
    """The base source's files that the table does not hold yet.

    Args:
        product: The product.
        spark: The session.
        recipe: Digest of how rows are made.
        ledger: What the table holds.

    Raises:
        InputMissing: There is no file, and no table either.
    """
    name = product.config.ingest.base
    section = product.config.sources[name]
    try:
        entries = product.source_files(name)
    except InputMissing:
        if ledger is None:
            raise
        entries = []  # what was taken may be moved away
    places = ledger.places() if ledger else set()
    fresh = [entry for entry in entries if (entry.path, entry.size, entry.modified_ns) not in places]
    settled, skipped = _settled(fresh, section.settle_s)
    files = compute_digests(name, section, settled, spark)
    new, also = _sorted_out(files, ledger)
    skipped += also
    for path, reason in skipped[:SHOWN_SKIPPED]:
        logger.info("sources.%s: skipped %s: %s", name, path, reason)
    if len(skipped) > SHOWN_SKIPPED:
        logger.info("sources.%s: skipped %d more", name, len(skipped) - SHOWN_SKIPPED)
    return Increment(snapshot_of(name, new, skipped), recipe, ledger, len(entries) - len(fresh))


def _settled(entries: Iterable[Entry], settle_s: float) -> tuple[list[Entry], list[tuple[str, str]]]:
    """Files that nobody has written to for a while."""
    limit = (time.time() - settle_s) * 1e9
    settled, skipped = [], []
    for entry in entries:
        if settle_s and entry.modified_ns > limit:
            skipped.append((entry.path, WRITTEN))
        else:
            settled.append(entry)
    return settled, skipped


def _sorted_out(files: Iterable[SourceFile], ledger: Ledger | None) -> tuple[list[SourceFile], list[tuple[str, str]]]:
    """Files whose content is new, after a second look."""
    first = {digest: place[0] for digest, place in ledger.taken.items()} if ledger else {}
    earlier = set(first.values())
    new, skipped = [], []
    for file in files:
        if _is_written(file):
            skipped.append((file.path, WRITTEN))
        elif file.digest in first:
            skipped.append((file.path, f"the same content as {first[file.digest]}"))
        else:
            if file.path in earlier:
                logger.warning("%s was taken before with other content; its rows are added", file.path)
            first[file.digest] = file.path
            new.append(file)
    return new, skipped


def _is_written(file: SourceFile) -> bool:
    try:
        return files_of(file.path).entry(file.path).stamp != file.stamp
    except FileNotFoundError:
        return True
