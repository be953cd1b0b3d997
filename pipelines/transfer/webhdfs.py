"""A client of WebHDFS with the project's own errors; a rename never replaces a file or moves into a folder."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import requests
from hdfs import HdfsError

from millrace.errors import DataRejected, InputMissing, MillraceError
from pipelines.transfer.errors import Interrupted, translated

CHUNK_BYTES: Final = 1 << 20
_ADDRESS_LIMIT: Final = 30_000
"""Hadoop's servers accept 64 KiB of URL and headers; the URL of a concat lists all sources."""


@dataclass(frozen=True)
class Status:
    """The status of a file or folder.

    Attributes:
        file_id: Stays the same when the file is moved.
        modified: Milliseconds since 1970.
        striped: Whether it is erasure-coded; the checksum of such a file cannot be computed locally.
    """

    is_folder: bool
    length: int
    file_id: int
    modified: int
    owner: str
    striped: bool


@dataclass(frozen=True)
class Block:
    """A piece of a file, which is sent, fetched and verified as a unit."""

    offset: int
    length: int


class WebHdfs:
    """The files of an HDFS over HTTP. Paths are absolute and literal, without escapes.

    Args:
        client: A client of HdfsCLI, created by `pipelines.transfer.access.connect`.
        address: For messages.
        user: For messages.
    """

    def __init__(self, client: Any, address: str, user: str) -> None:
        self._client = client
        self.address = address
        self.user = user

    @contextlib.contextmanager
    def _translating(self, path: str) -> Iterator[Any]:
        try:
            yield self._client
        except (HdfsError, requests.RequestException) as error:
            raise translated(error, self.address, self.user, path) from None  # its text may contain the token
        except (KeyError, TypeError) as error:
            # HdfsCLI expects Hadoop's fields in any JSON.
            unknown = HdfsError(f"the response has no {error}")
            raise translated(unknown, self.address, self.user, path) from error

    def status(self, path: str) -> Status | None:
        """Return the status of a file or folder; None if it does not exist."""
        try:
            with self._translating(path) as client:
                return _status(client.status(path))
        except InputMissing:
            return None

    def names(self, path: str) -> dict[str, Status]:
        """Return the content of a folder, sorted by name."""
        with self._translating(path) as client:
            found = client._list_status(path).json()["FileStatuses"]["FileStatus"]
        for each in found:
            name = each["pathSuffix"]
            if "/" in name or "\0" in name or name in (".", ".."):
                raise DataRejected(f"{self.address}: {path!r} contains the name {name!r}, which would leave the folder")
        return {each["pathSuffix"]: _status(each) for each in sorted(found, key=lambda each: str(each["pathSuffix"]))}

    def walk(self, path: str) -> Iterator[tuple[str, Status]]:
        """Yield every file and folder below a folder, relative to it."""
        for name, status in self.names(path).items():
            yield name, status
            if status.is_folder:
                yield from ((f"{name}/{inner}", each) for inner, each in self.walk(f"{path.rstrip('/')}/{name}"))

    def make_folder(self, path: str) -> None:
        """Create a folder and its parents; nothing happens if it exists."""
        with self._translating(path) as client:
            client.makedirs(path)

    def create(self, path: str, data: Iterable[bytes], block_bytes: int) -> None:
        """Write a new file, which must not exist."""
        with self._translating(path) as client:
            client.write(path, data=iter(data), blocksize=block_bytes)

    def read(self, path: str, block: Block) -> Iterator[bytes]:
        """Yield a piece of a file in chunks."""
        if block.length == 0:
            return
        with (
            self._translating(path) as client,
            client.read(path, offset=block.offset, length=block.length, chunk_size=CHUNK_BYTES) as chunks,
        ):
            yield from chunks

    def concat(self, target: str, sources: list[str]) -> None:
        """Append the blocks of files to another one in the same folder; the sources are removed."""
        with self._translating(target) as client:
            while sources:
                count = max(1, _ADDRESS_LIMIT // (len(quote(sources[0])) + 3))
                client._concat(target, sources=",".join(sources[:count]))
                sources = sources[count:]

    def rename_new(self, source: str, target: str) -> None:
        """Rename a file or folder in one step.

        Raises:
            Refused: The target exists; it is unchanged.
        """
        self._rename(source, target, "NONE")

    def replace(self, source: str, target: str) -> None:
        """Rename a file in one step, and replace the target."""
        self._rename(source, target, "OVERWRITE")

    def _rename(self, source: str, target: str, options: str) -> None:
        moved = self.status(source)
        if moved is None:
            raise Interrupted(
                f"{self.address}: {source!r} is gone", hint="is another transfer to the same target running?"
            )
        try:
            with self._translating(target) as client:
                # With options this is Hadoop's second rename. The first one moves into an existing folder.
                client._rename(source, destination=target, renameoptions=options)
        except MillraceError as error:
            # The reply may be lost after the rename: the file at the target shows whether it was done.
            found = self.status(target) if isinstance(error, Interrupted | InputMissing) else None
            if found is None or found.file_id != moved.file_id:
                raise

    def remove(self, path: str) -> bool:
        """Remove a file, or a folder with its content; returns whether it existed."""
        with self._translating(path) as client:
            return bool(client._delete(path, recursive=True).json()["boolean"])

    def checksum(self, path: str) -> tuple[str, str]:
        """Return the name of the algorithm and the digest of a file that is not empty."""
        with self._translating(path) as client:
            found = client.checksum(path)
        return found["algorithm"], found["bytes"]

    def blocks(self, path: str, length: int) -> list[Block]:
        """Return the blocks of a file in order."""
        if length == 0:
            return [Block(0, 0)]
        with self._translating(path) as client:
            response = client._get_file_block_locations(path, offset=0, length=length).json()
        found = [Block(each["offset"], each["length"]) for each in response["BlockLocations"]["BlockLocation"]]
        return sorted(found, key=lambda block: block.offset)


def _status(found: dict[str, Any]) -> Status:
    return Status(
        is_folder=found["type"] == "DIRECTORY",
        length=int(found["length"]),
        file_id=int(found["fileId"]),
        modified=int(found["modificationTime"]),
        owner=str(found["owner"]),
        striped=bool(found.get("ecPolicy")),
    )
