"""Opens a source file as streams of bytes: plain, gzip or zip, known by their first bytes."""

import contextlib
import gzip
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from ingest.errors import FileUnreadable
from pipelines.storage import mapped_errors

GZIP_MAGIC: Final = b"\x1f\x8b"
ZIP_MAGIC: Final = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
CHUNK_BYTES: Final = 1 << 20
BOMB_BYTES: Final = 1 << 30
BOMB_RATIO: Final = 250
"""An archive that grows by more than this, beyond the first `BOMB_BYTES`, is refused."""


@contextlib.contextmanager
def unpacking(name: str) -> Iterator[None]:
    """Around reading an archive: the only place that knows what can be wrong with one."""
    with mapped_errors("file", name):
        try:
            yield
        except (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise FileUnreadable(name, reason=f"the archive is damaged: {error}") from error
        except (RuntimeError, NotImplementedError) as error:
            # What zipfile raises for an encrypted member and for a method that it does not know.
            raise FileUnreadable(name, reason=f"cannot be unpacked: {error}") from error


@dataclass(frozen=True)
class Part:
    """One file of text inside a source.

    Attributes:
        path: The source's file.
        member: Name inside a zip; empty otherwise.
        compressed: Whether the text has to be unpacked.
    """

    path: Path
    member: str = ""
    compressed: bool = False

    @property
    def name(self) -> str:
        """What a user calls it: the file, or ``file.zip!member``."""
        return f"{self.path}!{self.member}" if self.member else str(self.path)

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[bytes] | gzip.GzipFile]:
        """Open the text.

        Raises:
            FileUnreadable: The archive is damaged, encrypted or no archive that Python knows.
        """
        with unpacking(self.name), contextlib.ExitStack() as stack:
            if self.member:
                archive = stack.enter_context(zipfile.ZipFile(self.path))
                yield stack.enter_context(archive.open(self.member))
            elif self.compressed:
                yield stack.enter_context(gzip.GzipFile(self.path))
            else:
                yield stack.enter_context(self.path.open("rb"))

    def chunks(self) -> Iterator[bytes]:
        """The text in pieces of `CHUNK_BYTES` at most.

        Raises:
            FileUnreadable: As `open`, or what is unpacked grows beyond all measure.
        """
        limit = max(BOMB_BYTES, self.path.stat().st_size * BOMB_RATIO)
        size = 0
        with self.open() as stream:
            while chunk := stream.read(CHUNK_BYTES):
                size += len(chunk)
                if self.compressed and size > limit:
                    raise FileUnreadable(self.name, reason=f"unpacks to more than {limit} bytes")
                yield chunk


def find_parts(path: Path) -> list[Part]:
    """The files of text in a source's file; its name says nothing, its first bytes decide.

    Folders, hidden files and macOS's copies of them are no part of a zip.

    Raises:
        FileUnreadable: A zip without a readable directory.
    """
    whole = Part(path)
    with whole.open() as stream:
        magic = stream.read(4)
    if magic[:2] == GZIP_MAGIC:
        return [Part(path, compressed=True)]
    if magic not in ZIP_MAGIC:
        return [whole]
    with unpacking(str(path)), zipfile.ZipFile(path) as archive:
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
    return [Part(path, name, compressed=True) for name in names if _is_data(name)]


def _is_data(member: str) -> bool:
    return not member.startswith("__MACOSX/") and not member.rpartition("/")[2].startswith(".")
