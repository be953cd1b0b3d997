"""Opens a source file as streams of bytes: plain, gzip, bzip2 or zip, detected from the first bytes."""

import bz2
import contextlib
import gzip
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Part:
    """One text file in a source file: the file itself, or a member of a zip.

    Attributes:
        path: The source file.
        member: Name inside a zip; empty otherwise.
        packing: The compression; empty for plain text.
        retry: The policy for reading the file.
    """

    path: str
    member: str = ""
    packing: Literal["", "gzip", "bzip2", "zip"] = ""
    retry: RetryPolicy = NO_RETRY

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
                yield stack.enter_context(archive.open(self.member))
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
                if self.packing and size > limit:
                    raise FileUnreadable(self.name, reason=f"unpacks to more than {limit} bytes")
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
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
    return [Part(path, name, "zip", retry) for name in names if _is_data(name)]


def _is_data(member: str) -> bool:
    return not member.startswith("__MACOSX/") and not member.rpartition("/")[2].startswith(".")
