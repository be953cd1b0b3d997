"""The files of declared sources as they are when a run begins: named, stamped, and known by their digests."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from ingest.errors import DigestMismatch, SourceChanged
from ingest.spark.parallel import for_each
from ingest.staging.staged_file import StagedFile
from millrace.config import Product
from millrace.config.sections.sources import Source
from millrace.digests import digest_of
from millrace.errors import DataRejected
from millrace.retry import NO_RETRY, RetryPolicy
from millrace.storage import Entry, digest_at, files_of, mapped_errors

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_PART: Final = re.compile(r"([A-Za-z_]\w*)=(.+)")
NO_VALUE: Final = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class SourceFile:
    """A source's file as it was when its digest was taken.

    Attributes:
        source: Name of the source.
        path: The file.
        sha256: Digest of its bytes.
        stamp: Size, time of change and identity, to notice a writer.
        values: Values of the columns that folders above it are named after.
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
        """The file without its folders."""
        return self.path.rpartition("/")[2]

    @property
    def digest(self) -> str:
        """What tells its rows from another file's: the bytes, and what its folders add to them."""
        return digest_of(self.sha256, self.values) if self.values else self.sha256

    def check_unchanged(self) -> None:
        """Compare the file with what it was.

        Raises:
            SourceChanged: Somebody wrote to it.
        """
        with mapped_errors("file", self.path):
            stamp = files_of(self.path, self.retry).entry(self.path).stamp
        if self.stamp != stamp:
            raise SourceChanged(self.source, self.path)


@dataclass(frozen=True)
class SourceSnapshot:
    """What there is of one source.

    Attributes:
        source: Its name.
        files: Files to be read.
        sha256: Digest of all that is read; of a single file its own.
        skipped: Files that are not read, and why.
        staged: What lies ready for Spark already, where the rows come from a database.
    """

    source: str
    files: tuple[SourceFile, ...]
    sha256: str
    skipped: tuple[tuple[str, str], ...] = ()
    staged: tuple[StagedFile, ...] = ()

    @property
    def partition_columns(self) -> set[str]:
        """Columns that some file's folders give a value to."""
        return {name for file in self.files for name in file.values}


def snapshot_of(source: str, files: Iterable[SourceFile], skipped: Iterable[tuple[str, str]] = ()) -> SourceSnapshot:
    """A snapshot of files, in their order."""
    files = tuple(files)
    digests = [file.digest for file in files]
    return SourceSnapshot(
        source, files, digests[0] if len(digests) == 1 else digest_of(sorted(digests)), tuple(skipped)
    )


def find_files(product: Product, name: str, spark: "SparkSession | None" = None) -> SourceSnapshot:
    """Find a source's files and take their digests.

    Raises:
        InputMissing: A file is not there.
        DigestMismatch: A file is not the declared one.
    """
    section = product.config.sources[name]
    retry = RetryPolicy(product.config.store.wait_s)
    files = take_digests(name, section, product.source_files(name, retry), spark, retry)
    declared = section.sha256
    for file in files:
        if declared is not None and file.sha256 != declared:
            raise DigestMismatch(name, file.path, expected=declared, found=file.sha256)
    return snapshot_of(name, files)


def take_digests(
    name: str, section: Source, entries: list[Entry], spark: "SparkSession | None", retry: RetryPolicy
) -> list[SourceFile]:
    """Read listed files once, for their digests."""
    paths = [entry.path for entry in entries]
    found = for_each(spark, partial(sha256_at, retry), paths, sum(entry.size for entry in entries))
    files = []
    for entry, digest in zip(entries, found, strict=True):
        if isinstance(digest, DataRejected):
            raise digest
        values = values_of(entry.path, section.columns)
        files.append(SourceFile(name, entry.path, digest, entry.stamp, values, retry))
    return files


def sha256_at(retry: RetryPolicy, path: str) -> str:
    """Digest of a file's bytes, wherever it lies."""
    with mapped_errors("file", path):
        return digest_at(path, retry)


def values_of(path: str, columns: Mapping[str, str]) -> dict[str, str | None]:
    """Values of declared columns in the names of the folders above a file."""
    parts = filter(None, map(_PART.fullmatch, path.split("/")[:-1]))
    found = {part[1]: unquote(part[2]) for part in parts if part[1] in columns}
    return {name: None if value == NO_VALUE else value for name, value in found.items()}
