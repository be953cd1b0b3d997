"""The files that an incremental table has already, from the commits in its log.

Each commit lists its own files and the number of the commit before. Every `SUMMARY_EVERY` commits, one also lists all
earlier files, so that only a few commits are read.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ingest.sources.snapshot import SourceFile
from millrace.errors import ArtifactNotFound, StorageError
from millrace.tables.versions import TableVersion, read_commit

SUMMARY_EVERY: Final = 50
INCREMENT: Final = "increment"
_MAINTENANCE: Final = ("OPTIMIZE", "VACUUM", "SET TBLPROPERTIES")
"""Names of Delta's operations that do not change rows."""


@dataclass(frozen=True)
class Ledger:
    """The files that were read so far.

    Attributes:
        recipe: Digest of the steps, contract and columns that made the rows.
        number: Number of increments.
        version: Table version of the newest increment.
        taken: Path, size and time of change of each file, by its digest.
    """

    recipe: str
    number: int
    version: int
    taken: Mapping[str, tuple[str, int, int]]

    def stamps(self) -> set[tuple[str, int, int]]:
        """Path, size and time of change of every file; a file with the same stamp is not read again."""
        return set(self.taken.values())


def read_ledger(table: TableVersion) -> Ledger | None:
    """Read the ledger of a table version; None if the table was not made by incremental runs.

    Raises:
        StorageError: A commit is missing in the log.
    """
    newest = own_commit(table)
    if newest is None or INCREMENT not in newest[1]:
        return None
    version, commit = newest
    first: dict[str, Any] = commit[INCREMENT]
    taken: dict[str, tuple[str, int, int]] = {}
    entry = first
    while True:
        for path, size, modified_ns, digest in (*entry["files"], *entry.get("all_before", ())):
            taken.setdefault(digest, (path, size, modified_ns))
        if entry["before"] is None or "all_before" in entry:
            break
        entry = _commit(table, entry["before"])[1][INCREMENT]
    return Ledger(first["recipe"], first["number"], version, taken)


def own_commit(table: TableVersion) -> tuple[int, dict[str, Any]] | None:
    """Version and metadata of the newest commit of an ingest run; None if another writer changed the rows since."""
    for version in range(table.version, -1, -1):
        operation, commit = _commit(table, version)
        if "commit_key" in commit:
            return version, commit
        if not operation.startswith(_MAINTENANCE):
            return None
    return None


def _commit(table: TableVersion, version: int) -> tuple[str, dict[str, Any]]:
    try:
        return read_commit(table, version)
    except ArtifactNotFound as error:
        raise StorageError(
            f"table '{table.name}': its log lacks version {version}, which lists the files that were read",
            hint="run with --full to rebuild the table from all files that are there now",
        ) from error


def next_entry(recipe: str, ledger: Ledger | None, files: Iterable[SourceFile]) -> dict[str, Any]:
    """The entry for the files of the next commit."""
    number = ledger.number + 1 if ledger else 1
    entry: dict[str, Any] = {
        "recipe": recipe,
        "number": number,
        "before": ledger.version if ledger else None,
        "files": [[file.path, file.stamp[0], file.stamp[1], file.digest] for file in files],
    }
    if ledger and number % SUMMARY_EVERY == 0:
        entry["all_before"] = [[*stamp, digest] for digest, stamp in ledger.taken.items()]
    return entry
