"""WebHDFS, one method a request; every error is the project's own, and no rename replaces or moves inside."""

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
"""Hadoop's servers take 64 KiB of address and headers; the sources of a concat all stand in the address."""


@dataclass(frozen=True)
class Status:
    """A file or folder, as the NameNode knows it.

    Attributes:
        file_id: The same for as long as it exists, wherever it is moved.
        modified: Milliseconds since 1970.
        striped: Whether it is erasure-coded; such a file has no checksum that could be computed elsewhere.
    """

    is_folder: bool
    length: int
    file_id: int
    modified: int
    owner: str
    striped: bool


@dataclass(frozen=True)
class Block:
    """A piece of a file: what is sent, fetched, and checked as one."""

    offset: int
    length: int


class WebHdfs:
    """The files of an HDFS over HTTP. Paths are absolute, taken as they are, without escapes.

    Args:
        client: One of HdfsCLI's, made by `pipelines.transfer.access.connect`.
        address: For messages.
        user: For messages.
    """

    def __init__(self, client: Any, address: str, user: str) -> None:
        self._client = client
        self.address = address
        self.user = user

    @contextlib.contextmanager
    def _asked(self, path: str) -> Iterator[Any]:
        try:
            yield self._client
        except (HdfsError, requests.RequestException) as error:
            raise translated(error, self.address, self.user, path) from None  # its text may hold the token
        except (KeyError, TypeError) as error:
            # HdfsCLI looks for Hadoop's fields in whatever JSON comes.
            unknown = HdfsError(f"an answer without {error}")
            raise translated(unknown, self.address, self.user, path) from error

    def status(self, path: str) -> Status | None:
        """What is there; None if nothing."""
        try:
            with self._asked(path) as client:
                return _status(client.status(path))
        except InputMissing:
            return None

    def names(self, path: str) -> dict[str, Status]:
        """What is in a folder, sorted by name."""
        with self._asked(path) as client:
            found = client._list_status(path).json()["FileStatuses"]["FileStatus"]
        for each in found:
            name = each["pathSuffix"]
            if "/" in name or "\0" in name or name in (".", ".."):
                raise DataRejected(f"{self.address}: {path!r} holds the name {name!r}, which would leave the folder")
        return {each["pathSuffix"]: _status(each) for each in sorted(found, key=lambda each: str(each["pathSuffix"]))}

    def walk(self, path: str) -> Iterator[tuple[str, Status]]:
        """Every file and folder below a folder, relative to it."""
        for name, status in self.names(path).items():
            yield name, status
            if status.is_folder:
                yield from ((f"{name}/{inner}", each) for inner, each in self.walk(f"{path.rstrip('/')}/{name}"))

    def make_folder(self, path: str) -> None:
        """Make a folder, and those above it, unless it is there."""
        with self._asked(path) as client:
            client.makedirs(path)

    def create(self, path: str, data: Iterable[bytes], block_bytes: int) -> None:
        """Write a file that must not be there."""
        with self._asked(path) as client:
            client.write(path, data=iter(data), blocksize=block_bytes)

    def read(self, path: str, block: Block) -> Iterator[bytes]:
        """A piece of a file, chunk by chunk."""
        if block.length == 0:
            return
        with (
            self._asked(path) as client,
            client.read(path, offset=block.offset, length=block.length, chunk_size=CHUNK_BYTES) as chunks,
        ):
            yield from chunks

    def concat(self, target: str, sources: list[str]) -> None:
        """Move the blocks of files to the end of another one of the same folder; the sources are gone then."""
        with self._asked(target) as client:
            while sources:
                count = max(1, _ADDRESS_LIMIT // (len(quote(sources[0])) + 3))
                client._concat(target, sources=",".join(sources[:count]))
                sources = sources[count:]

    def rename_new(self, source: str, target: str) -> None:
        """Rename a file or folder in one step.

        Raises:
            Refused: There is something at the target; it is unchanged.
        """
        self._rename(source, target, "NONE")

    def replace(self, source: str, target: str) -> None:
        """Rename a file in one step over what is there."""
        self._rename(source, target, "OVERWRITE")

    def _rename(self, source: str, target: str, options: str) -> None:
        moved = self.status(source)
        if moved is None:
            raise Interrupted(f"{self.address}: {source!r} is gone", hint="is another transfer at work there?")
        try:
            with self._asked(target) as client:
                # With options it is Hadoop's second rename: the first moves into a folder that is there.
                client._rename(source, destination=target, renameoptions=options)
        except MillraceError as error:
            # A reply may be lost after the work is done: what lies at the target tells.
            found = self.status(target) if isinstance(error, Interrupted | InputMissing) else None
            if found is None or found.file_id != moved.file_id:
                raise

    def remove(self, path: str) -> bool:
        """Remove a file, or a folder with all that is in it; returns whether it was there."""
        with self._asked(path) as client:
            return bool(client._delete(path, recursive=True).json()["boolean"])

    def checksum(self, path: str) -> tuple[str, str]:
        """Name of the algorithm, and digest, of a file that is not empty."""
        with self._asked(path) as client:
            found = client.checksum(path)
        return found["algorithm"], found["bytes"]

    def blocks(self, path: str, length: int) -> list[Block]:
        """The blocks of a file in order."""
        if length == 0:
            return [Block(0, 0)]
        with self._asked(path) as client:
            answer = client._get_file_block_locations(path, offset=0, length=length).json()
        found = [Block(each["offset"], each["length"]) for each in answer["BlockLocations"]["BlockLocation"]]
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
