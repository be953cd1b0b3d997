"""What an incremental table holds already: the commits of its log say which files were taken.

Each commit names its own files and the commit before; now and then one repeats all before it, so that few are read.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ingest.sources.snapshot import SourceFile
from millrace.errors import ArtifactNotFound, StorageError
from millrace.tables.versions import TableVersion, read_commit

SUMMARY_EVERY: Final = 50
INCREMENT: Final = "increment"
_TIDYING: Final = ("OPTIMIZE", "VACUUM", "SET TBLPROPERTIES")
"""What Delta calls operations that leave the rows as they are."""


@dataclass(frozen=True)
class Ledger:
    """Files taken so far.

    Attributes:
        recipe: Digest of the steps, contract and columns that made the rows.
        number: How many increments there were.
        version: Table version of the newest.
        taken: Digest of each file, and what it was called: path, size and time of change.
    """

    recipe: str
    number: int
    version: int
    taken: Mapping[str, tuple[str, int, int]]

    def places(self) -> set[tuple[str, int, int]]:
        """Path, size and time of every taken file: what is still the same needs not be read again."""
        return set(self.taken.values())


def read_ledger(table: TableVersion) -> Ledger | None:
    """The ledger of a table version; None where the table was not made from increments.

    Raises:
        StorageError: A commit is gone from the log.
    """
    newest = own_commit(table)
    if newest is None or INCREMENT not in newest[1]:
        return None
    version, commit = newest
    first: dict[str, Any] = commit[INCREMENT]
    taken: dict[str, tuple[str, int, int]] = {}
    entry, place = first, version
    while True:
        for path, size, modified_ns, digest in (*entry["files"], *entry.get("all_before", ())):
            taken.setdefault(digest, (path, size, modified_ns))
        if entry["before"] is None or "all_before" in entry:
            break
        place = entry["before"]
        entry = _commit(table, place)[1][INCREMENT]
    return Ledger(first["recipe"], first["number"], version, taken)


def own_commit(table: TableVersion) -> tuple[int, dict[str, Any]] | None:
    """Number and record of the newest commit that an ingest made; None where others changed the rows since."""
    for version in range(table.version, -1, -1):
        operation, commit = _commit(table, version)
        if "commit_key" in commit:
            return version, commit
        if not operation.startswith(_TIDYING):
            return None
    return None


def _commit(table: TableVersion, version: int) -> tuple[str, dict[str, Any]]:
    try:
        return read_commit(table.uri, version)
    except ArtifactNotFound as error:
        raise StorageError(
            f"table '{table.name}': its log lacks version {version}, which says what files were taken",
            hint="run with --full to make the table anew from all files that are there",
        ) from error


def next_entry(recipe: str, ledger: Ledger | None, files: Iterable[SourceFile]) -> dict[str, Any]:
    """What the next commit says of its files."""
    number = ledger.number + 1 if ledger else 1
    entry: dict[str, Any] = {
        "recipe": recipe,
        "number": number,
        "before": ledger.version if ledger else None,
        "files": [[file.path, file.stamp[0], file.stamp[1], file.digest] for file in files],
    }
    if ledger and number % SUMMARY_EVERY == 0:
        entry["all_before"] = [[*place, digest] for digest, place in ledger.taken.items()]
    return entry
