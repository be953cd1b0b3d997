"""Opens a source file as streams of bytes: plain, gzip, bzip2 or zip, known by their first bytes."""

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
"""An archive that grows by more than this, beyond the first `BOMB_BYTES`, is refused."""


@contextlib.contextmanager
def unpacking(name: str) -> Iterator[None]:
    """Around reading an archive: the only place that knows what can be wrong with one."""
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
            # What zipfile raises for an encrypted member and for a method that it does not know.
            raise FileUnreadable(name, reason=f"cannot be unpacked: {error}") from error


@dataclass(frozen=True)
class Part:
    """One file of text inside a source.

    Attributes:
        path: The source's file.
        member: Name inside a zip; empty otherwise.
        packing: How the text is packed; empty where it is plain.
        retry: The policy for reading the file.
    """

    path: str
    member: str = ""
    packing: Literal["", "gzip", "bzip2", "zip"] = ""
    retry: RetryPolicy = NO_RETRY

    @property
    def name(self) -> str:
        """What a user calls it: the file, or ``file.zip!member``."""
        return f"{self.path}!{self.member}" if self.member else self.path

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[bytes] | gzip.GzipFile | bz2.BZ2File]:
        """Open the text.

        Raises:
            FileUnreadable: The archive is damaged, encrypted or no archive that Python knows.
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
        """The text in pieces of `CHUNK_BYTES` at most.

        Raises:
            FileUnreadable: As `open`, or what is unpacked grows beyond all measure.
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
    """The files of text in a source's file; its name says nothing, its first bytes decide.

    Folders, hidden files and macOS's copies of them are no part of a zip.

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
