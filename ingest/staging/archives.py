"""Opens a source file as streams of bytes: plain, gzip, bzip2 or zip, detected from the first bytes."""

import bz2
import contextlib
import gzip
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import IO, Final, Literal

from ingest.errors import FileUnreadable
from millrace.retry import NO_RETRY, RetryPolicy
from millrace.storage import files_of, is_of_storage, mapped_errors, open_input

GZIP_MAGIC: Final = b"\x1f\x8b"
BZIP2_MAGIC: Final = b"BZh"
ZIP_MAGIC: Final = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
CHUNK_BYTES: Final = 1 << 20
BOMB_BYTES: Final = 1 << 30
BOMB_RATIO: Final = 250
"""An archive that unpacks to more than this many times its size, and to more than `BOMB_BYTES`, is refused."""
MAX_MEMBERS: Final = 10_000
"""Most files in a zip: each is staged as a file of its own."""


@contextlib.contextmanager
def unpacking(name: str) -> Iterator[None]:
    """Map the errors of reading an archive to `FileUnreadable`."""
    with mapped_errors("file", name):
        try:
            yield
        except (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise FileUnreadable(name, reason=f"the archive is damaged: {error}") from error
        except OSError as error:
            if is_of_storage(error):
                raise
            raise FileUnreadable(name, reason=f"the archive is damaged: {error}") from error
        except (RuntimeError, NotImplementedError) as error:
            # zipfile raises these for an encrypted member and for an unknown compression method.
            raise FileUnreadable(name, reason=f"cannot be unpacked: {error}") from error


@dataclass
class Unpacked:
    """How many bytes came out of an archive.

    Attributes:
        members: The bytes by number of the member.
        size: The bytes of all members.
    """

    members: dict[int, int] = field(default_factory=dict)
    size: int = 0

    def count(self, member: int, size: int) -> None:
        """Count the bytes of a member so far; a member that is read again counts once."""
        more = max(0, size - self.members.get(member, 0))
        self.members[member] = self.members.get(member, 0) + more
        self.size += more


@dataclass(frozen=True)
class Part:
    """One text file in a source file: the file itself, or a member of a zip.

    Attributes:
        path: The source file.
        member: Name inside a zip; empty otherwise.
        number: Position of the member in the zip's directory: two members may have the same name.
        packing: The compression; empty for plain text.
        retry: The policy for reading the file.
        unpacked: Counts the bytes that came out of the archive, all its members together.
    """

    path: str
    member: str = ""
    number: int = 0
    packing: Literal["", "gzip", "bzip2", "zip"] = ""
    retry: RetryPolicy = NO_RETRY
    unpacked: Unpacked = field(default_factory=Unpacked, compare=False)

    @property
    def name(self) -> str:
        """Name for messages: the file, or ``file.zip!member``."""
        return f"{self.path}!{self.member}" if self.member else self.path

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[bytes] | gzip.GzipFile | bz2.BZ2File]:
        """Open the text for reading.

        Raises:
            FileUnreadable: The archive is damaged, encrypted, or of an unknown compression method.
        """
        with unpacking(self.name), contextlib.ExitStack() as stack:
            file = stack.enter_context(open_input(self.path, self.retry))
            if self.packing == "zip":
                archive = stack.enter_context(zipfile.ZipFile(file))
                yield stack.enter_context(archive.open(archive.infolist()[self.number]))
            elif self.packing == "gzip":
                yield stack.enter_context(gzip.GzipFile(fileobj=file))
            elif self.packing == "bzip2":
                yield stack.enter_context(bz2.BZ2File(file))
            else:
                yield file

    def chunks(self) -> Iterator[bytes]:
        """Read the text in pieces of at most `CHUNK_BYTES`.

        Raises:
            FileUnreadable: As for `open`, or the archive unpacks to far more bytes than it has.
        """
        limit = max(BOMB_BYTES, files_of(self.path, self.retry).size(self.path) * BOMB_RATIO) if self.packing else 0
        size = 0
        with self.open() as stream:
            while chunk := stream.read(CHUNK_BYTES):
                size += len(chunk)
                self.unpacked.count(self.number, size)
                if self.packing and self.unpacked.size > limit:
                    raise FileUnreadable(self.name, reason=f"the archive unpacks to more than {limit} bytes")
                yield chunk


def find_parts(path: str, retry: RetryPolicy = NO_RETRY) -> list[Part]:
    """Find the text files in a source file; the first bytes decide, not the name.

    Folders, hidden files and the metadata files of macOS in a zip are skipped.

    Raises:
        FileUnreadable: A zip without a readable directory.
    """
    whole = Part(path, retry=retry)
    with whole.open() as stream:
        magic = stream.read(4)
    if magic[:2] == GZIP_MAGIC:
        return [replace(whole, packing="gzip")]
    if magic[:3] == BZIP2_MAGIC and magic[3:4].isdigit():
        return [replace(whole, packing="bzip2")]
    if magic not in ZIP_MAGIC:
        return [whole]
    with unpacking(path), open_input(path, retry) as file, zipfile.ZipFile(file) as archive:
        members = [
            (number, info.filename)
            for number, info in enumerate(archive.infolist())
            if not info.is_dir() and _is_data(info.filename)
        ]
    if len(members) > MAX_MEMBERS:
        raise FileUnreadable(path, reason=f"the zip holds {len(members)} files, allowed are {MAX_MEMBERS}")
    unpacked = Unpacked()
    return [Part(path, name, number, "zip", retry, unpacked) for number, name in members]


def _is_data(member: str) -> bool:
    return not member.startswith("__MACOSX/") and not member.rpartition("/")[2].startswith(".")
