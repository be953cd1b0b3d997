"""What there is of a source when a run begins: its files, their stamps and their digests."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ingest.errors import SourceChanged
from ingest.staging.staged_file import StagedFile
from millrace.digests import digest_of
from millrace.retry import NO_RETRY, RetryPolicy
from millrace.storage import files_of, mapped_errors


@dataclass(frozen=True)
class SourceFile:
    """A file of a source at the time when its digest was computed.

    Attributes:
        source: Name of the source.
        path: The file.
        sha256: Digest of its bytes.
        stamp: Size, time of change and identity; another stamp means that the file was written to.
        values: Values of the columns that folders above the file are named after.
        retry: The policy for reading the file.
    """

    source: str
    path: str
    sha256: str
    stamp: tuple[int, int, int]
    values: Mapping[str, str | None] = field(default_factory=dict)
    retry: RetryPolicy = field(default=NO_RETRY, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The file name without its folders."""
        return self.path.rpartition("/")[2]

    @property
    def digest(self) -> str:
        """Identifies the rows of the file: a digest of its bytes and of the values from its folders."""
        return digest_of(self.sha256, self.values) if self.values else self.sha256

    def check_unchanged(self) -> None:
        """Check that nothing has written to the file since its digest was computed.

        Raises:
            SourceChanged: The file changed.
        """
        with mapped_errors("file", self.path):
            stamp = files_of(self.path, self.retry).entry(self.path).stamp
        if self.stamp != stamp:
            raise SourceChanged(self.source, self.path)


@dataclass(frozen=True)
class SourceSnapshot:
    """What a run reads of one source.

    Attributes:
        source: Name of the source.
        files: Files to read.
        sha256: Digest of everything that is read; for a single file the digest of this file.
        skipped: Files that are not read, each with the reason.
        staged: Files that are staged already, for a source whose rows come from a database.
    """

    source: str
    files: tuple[SourceFile, ...]
    sha256: str
    skipped: tuple[tuple[str, str], ...] = ()
    staged: tuple[StagedFile, ...] = ()

    @property
    def partition_columns(self) -> set[str]:
        """Columns that have a value from the folders of some file."""
        return {name for file in self.files for name in file.values}


def snapshot_of(source: str, files: Iterable[SourceFile], skipped: Iterable[tuple[str, str]] = ()) -> SourceSnapshot:
    """Make a snapshot of files, which keep their order; the digest does not depend on the order."""
    files = tuple(files)
    digests = [file.digest for file in files]
    return SourceSnapshot(
        source, files, digests[0] if len(digests) == 1 else digest_of(sorted(digests)), tuple(skipped)
    )
