"""Splits big files into chunks of equal size, with a manifest to verify each chunk and the whole file."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from millrace.digests import sha256_of
from millrace.errors import MAX_EXAMPLES, DataRejected, InputMissing, Refused, StorageError
from millrace.failpoints import fail_here
from millrace.progress import progress
from millrace.storage import LocalFiles, is_plain, mapped_errors
from pipelines.transfer.plan import Moved
from pipelines.transfer.staging import locked, staging_name

MANIFEST: Final = "manifest.json"
_READ_BYTES: Final = 1 << 20


class Chunk(BaseModel):
    """One piece of a file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int = Field(ge=0)
    offset: int = Field(ge=0)
    length: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @property
    def file(self) -> str:
        """Its name in the folder."""
        return f"{self.number:06d}.chunk"


class ChunkManifest(BaseModel):
    """The description of a file and its chunks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["millrace-chunks/1"] = "millrace-chunks/1"
    name: str
    size: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    chunk_size: int = Field(ge=1)
    chunks: tuple[Chunk, ...]

    @property
    def is_sound(self) -> bool:
        """Whether the chunks cover the file without gap or overlap."""
        ends = [chunk.offset + chunk.length for chunk in self.chunks]
        follow = [chunk.offset for chunk in self.chunks] == [0, *ends[:-1]] if ends else True
        numbers = [chunk.number for chunk in self.chunks] == list(range(len(self.chunks)))
        return is_plain(self.name) and numbers and follow and (ends[-1] if ends else 0) == self.size


class ChunksDamaged(DataRejected):
    """Chunks are missing, or differ from the manifest."""

    def __init__(self, folder: Path, bad: list[str]) -> None:
        more = f", and {len(bad) - MAX_EXAMPLES} more" if len(bad) > MAX_EXAMPLES else ""
        super().__init__(
            f"{str(folder)!r}: {len(bad)} bad: {', '.join(bad[:MAX_EXAMPLES])}{more}",
            hint="transfer these chunks again, then run the same command: it keeps what is merged already",
        )
        self.bad = tuple(bad)


def split(source: Path, target: Path, chunk_size: int) -> Moved:
    """Split a file into chunks in a new folder, which appears with its manifest in one step.

    Args:
        source: The file.
        target: The folder.
        chunk_size: Size of every chunk but the last, in bytes.

    Raises:
        InputMissing: There is no such file.
        Refused: The folder exists and has other content.
    """
    if not source.is_file():
        raise InputMissing(f"there is no file {str(source)!r}")
    stat = source.stat()
    size = stat.st_size
    if target.exists():
        known = _read_manifest(target) if target.is_dir() else None
        if not known or (known.size, known.chunk_size, known.sha256) != (size, chunk_size, sha256_of(source)):
            raise Refused(f"{str(target)!r} exists already", hint="remove it, or choose another folder with --to")
        if bad := [problem for chunk in known.chunks if (problem := _problem(target, chunk))]:
            raise ChunksDamaged(target, bad)
        return Moved("already", str(target), len(known.chunks), size, 0)
    staging = target.parent / staging_name("split", target.name)
    files = LocalFiles()
    whole = hashlib.sha256()
    chunks: list[Chunk] = []
    written = 0
    with mapped_errors("folder", str(target)):
        staging.mkdir(parents=True, exist_ok=True)
    with mapped_errors("folder", str(target)), locked(staging), source.open("rb") as file:
        with progress(f"split {source.name}", size) as show:
            for number, offset in enumerate(range(0, size, chunk_size)):
                length = min(chunk_size, size - offset)
                digest = _sha256(_pieces(file, offset, length), whole)
                chunk = Chunk(number=number, offset=offset, length=length, sha256=digest)
                if _problem(staging, chunk):
                    files.remove(str(staging / chunk.file))
                    with files.open_output(str(staging / chunk.file)) as copy:
                        for piece in _pieces(file, offset, length):
                            copy.write(piece)
                    written += length
                    fail_here("transfer.part_done")
                chunks.append(chunk)
                show(offset + length)
        after = source.stat()
        if (after.st_size, after.st_mtime_ns) != (size, stat.st_mtime_ns):
            raise StorageError(
                f"{str(source)!r} changed while it was split", hint="run the command again when the file is complete"
            )
        manifest = ChunkManifest(
            name=source.name, size=size, sha256=whole.hexdigest(), chunk_size=chunk_size, chunks=tuple(chunks)
        )
        for stray in set(files.names(str(staging))) - {chunk.file for chunk in chunks}:
            files.remove(str(staging / stray))
        with files.open_output(str(staging / MANIFEST)) as note:
            note.write(manifest.model_dump_json(indent=1).encode())
        fail_here("transfer.before_rename")
        files.rename_new(str(staging), str(target))
    return Moved("committed", str(target), len(chunks), size, written)


def merge(folder: Path, target: Path | None = None) -> Moved:
    """Join chunks into one file, which appears once every chunk and the whole file are verified.

    Args:
        folder: The folder of the chunks and their manifest.
        target: The file to write; by default its original name beside the folder.

    Raises:
        InputMissing: There is no manifest.
        ChunksDamaged: Chunks are missing or changed; the error names each, and nothing becomes visible.
        Refused: The target exists and is a different file.
    """
    manifest = _read_manifest(folder)
    if manifest is None:
        raise InputMissing(f"there is no {MANIFEST} in {str(folder)!r}", hint="create one with: millrace data split")
    target = target or folder.parent / manifest.name
    if target.exists():
        if target.is_file() and target.stat().st_size == manifest.size and sha256_of(target) == manifest.sha256:
            return Moved("already", str(target), 1, manifest.size, 0)
        raise Refused(f"{str(target)!r} exists already", hint="remove it, or choose another file with --to")
    staged = target.parent / staging_name("merge", target.name)
    with mapped_errors("file", str(target)):
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.touch()
        with locked(staged):
            written = _join(folder, manifest, staged)
            fail_here("transfer.before_rename")
            LocalFiles().rename_new(str(staged), str(target))
    return Moved("committed", str(target), 1, manifest.size, written)


def _join(folder: Path, manifest: ChunkManifest, staged: Path) -> int:
    """Write every good chunk that is not written yet; returns the number of bytes written."""
    whole = hashlib.sha256()
    bad: list[str] = []
    written = 0
    resumed = staged.stat().st_size > 0
    with (
        staged.open("r+b") as file,
        progress(f"merge {manifest.name}", manifest.size) as show,
    ):
        file.truncate(manifest.size)
        for chunk in manifest.chunks:
            ahead = whole.copy()
            if resumed and _sha256(_pieces(file, chunk.offset, chunk.length), ahead) == chunk.sha256:
                whole = ahead
            elif problem := _problem(folder, chunk):
                bad.append(problem)
            else:
                with (folder / chunk.file).open("rb") as source:
                    file.seek(chunk.offset)
                    shutil.copyfileobj(source, file, _READ_BYTES)
                _sha256(_pieces(file, chunk.offset, chunk.length), whole)
                written += chunk.length
                fail_here("transfer.part_done")
            show(chunk.offset + chunk.length)
        file.flush()
    if bad:
        raise ChunksDamaged(folder, bad)
    if whole.hexdigest() != manifest.sha256:
        staged.unlink()
        raise DataRejected(f"{str(folder)!r}: the chunks are complete, but the file differs from {MANIFEST}")
    return written


def _problem(folder: Path, chunk: Chunk) -> str | None:
    """Describe what is wrong with a chunk's file; None if it is good."""
    path = folder / chunk.file
    if not path.is_file():
        return f"{chunk.file} is missing"
    if (found := path.stat().st_size) != chunk.length:
        return f"{chunk.file} has {found} bytes instead of {chunk.length}"
    return None if sha256_of(path) == chunk.sha256 else f"{chunk.file} has changed"


def _read_manifest(folder: Path) -> ChunkManifest | None:
    try:
        text = (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        manifest = ChunkManifest.model_validate_json(text)
    except ValidationError as error:
        raise DataRejected(
            f"{str(folder / MANIFEST)!r} is not a manifest of chunks: {error.errors()[0]['msg']}"
        ) from None
    if not manifest.is_sound:
        raise DataRejected(f"{str(folder / MANIFEST)!r}: its chunks do not cover the file")
    return manifest


def _pieces(file: BinaryIO, offset: int, length: int) -> Iterator[bytes]:
    file.seek(offset)
    while length and (data := file.read(min(_READ_BYTES, length))):
        length -= len(data)
        yield data


def _sha256(pieces: Iterator[bytes], whole: "hashlib._Hash") -> str:
    """Return the digest of some bytes, and add them to the digest `whole` too."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
        whole.update(piece)
    return digest.hexdigest()
