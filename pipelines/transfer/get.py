"""Downloads files and folders from HDFS: staged by blocks beside the target, verified, then renamed in one step.

A journal beside the staged file lists the complete blocks with their digests. When the same command runs again, it
compares these with the bytes on the disk, and fetches the other blocks.
"""

import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from millrace.errors import InputMissing, MillraceError, Refused, StorageError
from millrace.failpoints import fail_here
from millrace.storage import LocalFiles, mapped_errors
from pipelines.transfer.checksums import Algorithm, digest_in, is_same, of_file
from pipelines.transfer.errors import Interrupted
from pipelines.transfer.plan import Moved, TransferPool, transfer_pool
from pipelines.transfer.staging import locked, staging_name
from pipelines.transfer.webhdfs import Block, Status, WebHdfs

if TYPE_CHECKING:
    from concurrent.futures import Future

IDENTITY: Final = "source.json"


class _Identity(BaseModel):
    """Identifies the source; a staged copy of another source is discarded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    path: str
    files: tuple[tuple[str, int, int, int], ...]
    """Name, id, size and modification time of each file."""


@dataclass
class _Fetch:
    """The download of one file.

    Attributes:
        algorithm: Algorithm of its blocks' digests; None if the cluster's cannot be computed locally.
        expected: Digest of the whole file.
        done: Digest of each complete block, by number.
    """

    source: str
    status: Status
    staged: Path
    journal: Path
    blocks: list[Block] = field(default_factory=list)
    algorithm: Algorithm | None = None
    expected: str = ""
    done: dict[int, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


def get(
    hdfs: WebHdfs,
    source: str,
    target: Path,
    *,
    force: bool,
    workers: int,
    check: Callable[[Path], None] = lambda staged: None,
) -> Moved:
    """Download a file or folder from HDFS; the target appears completely or not at all.

    Args:
        hdfs: The source file system.
        source: A file, or a folder with its content.
        target: The local path.
        force: Replace an existing target, as `pipelines.transfer.put.put` does.
        workers: Number of threads.
        check: Called with the staged copy before it becomes visible; if it raises, nothing becomes visible.

    Raises:
        InputMissing: There is no such file or folder.
        Refused: The target exists and differs, or only one of source and target is a folder.
        ConfigError: Missing permission, or a wrong address.
        StorageError: The cluster or the disk failed; the same command resumes the transfer.
    """
    status = hdfs.status(source)
    if status is None:
        raise InputMissing(f"{hdfs.address}: there is no file or folder {source!r}")
    found = dict(hdfs.walk(source)) if status.is_folder else {"": status}
    files = {name: each for name, each in found.items() if not each.is_folder}
    total = sum(each.length for each in files.values())
    staging = target.parent / staging_name("get", target.name)
    if target.exists() or target.is_symlink():
        if target.is_dir() != status.is_folder:
            raise Refused(f"{str(target)!r} is a {'folder' if target.is_dir() else 'file'}, {source!r} is not")
        if _holds_same(hdfs, source, target, found, workers):
            shutil.rmtree(staging, ignore_errors=True)
            return Moved("already", str(target), len(files), total, 0)
        if not force:
            raise Refused(f"{str(target)!r} exists already, and differs", hint="replace it with --force")
    with mapped_errors("local folder", str(target.parent)):
        staging.mkdir(parents=True, exist_ok=True)
        with locked(staging):
            _prepare(staging, _identity(hdfs, source, files))
            for name, each in found.items():
                if each.is_folder:
                    (staging / "tree" / name).mkdir(parents=True, exist_ok=True)
            (staging / "tree" if status.is_folder else staging).mkdir(exist_ok=True)
            with transfer_pool(f"get {target.name}", total, workers) as pool:
                _fetch_all(hdfs, pool, [_plan(source, name, each, staging) for name, each in files.items()])
                check(staging / "tree")
                fail_here("transfer.before_rename")
                _commit(staging, target)
            shutil.rmtree(staging, ignore_errors=True)
    return Moved("committed", str(target), len(files), total, pool.sent)


def _identity(hdfs: WebHdfs, source: str, files: dict[str, Status]) -> _Identity:
    listed = tuple((name, each.file_id, each.length, each.modified) for name, each in files.items())
    return _Identity(address=hdfs.address, path=source, files=listed)


def _prepare(staging: Path, identity: _Identity) -> None:
    """Keep the staged files of an interrupted transfer if its source was the same."""
    note = staging / IDENTITY
    try:
        known = _Identity.model_validate_json(note.read_bytes()) if note.is_file() else None
    except ValidationError:
        known = None
    if known != identity:
        for each in staging.iterdir():
            shutil.rmtree(each) if each.is_dir() else each.unlink()
    (staging / "done").mkdir(exist_ok=True)
    note.write_text(identity.model_dump_json())


def _plan(source: str, name: str, status: Status, staging: Path) -> _Fetch:
    journal = staging / "done" / sha256(name.encode()).hexdigest()[:32]
    return _Fetch(
        source=f"{source.rstrip('/')}/{name}" if name else source,
        status=status,
        staged=staging / "tree" / name if name else staging / "tree",
        journal=journal,
    )


def _fetch_all(hdfs: WebHdfs, pool: TransferPool, fetches: list[_Fetch]) -> None:
    opened = [pool.submit(_open, hdfs, fetch) for fetch in fetches]
    fetching: list[tuple[_Fetch, list[Future[None]]]] = []
    for fetch, opening in zip(fetches, opened, strict=True):
        opening.result()
        missing = [number for number in range(len(fetch.blocks)) if number not in fetch.done]
        pool.advance(fetch.status.length - sum(fetch.blocks[n].length for n in missing), moved=False)
        fetching.append((fetch, [pool.submit(_fetch, hdfs, pool, fetch, number) for number in missing]))
    ends = []
    for fetch, work in fetching:
        for each in work:
            each.result()
        ends.append(pool.submit(_verify, hdfs, fetch))
    for end in ends:
        end.result()


def _open(hdfs: WebHdfs, fetch: _Fetch) -> None:
    """Read the blocks and the checksum of a file, and find the blocks that are already staged."""
    fetch.blocks = hdfs.blocks(fetch.source, fetch.status.length)
    if fetch.status.length and not fetch.status.striped:
        name, checksum = hdfs.checksum(fetch.source)
        fetch.algorithm, fetch.expected = Algorithm.parse(name), digest_in(checksum)
    # Append mode creates a missing file, and keeps an existing one.
    with mapped_errors("file", str(fetch.staged)), fetch.staged.open("ab") as file:
        file.truncate(fetch.status.length)
    for line in fetch.journal.read_text().splitlines() if fetch.journal.is_file() else ():
        number, _, digest = line.partition(" ")
        if number.isdecimal() and int(number) < len(fetch.blocks) and digest == _digest(fetch, int(number)):
            fetch.done[int(number)] = digest


def _digest(fetch: _Fetch, number: int) -> str:
    """Return the digest of a block on the disk."""
    algorithm = fetch.algorithm or Algorithm(512, lambda data: int.from_bytes(sha256(data).digest()[:4]))
    return algorithm.of_block(fetch.staged, fetch.blocks[number]).hex()


def _fetch(hdfs: WebHdfs, pool: TransferPool, fetch: _Fetch, number: int) -> None:
    block = fetch.blocks[number]
    received = 0
    try:
        with mapped_errors("file", str(fetch.staged)), fetch.staged.open("r+b") as file:
            file.seek(block.offset)
            for chunk in hdfs.read(fetch.source, block):
                pool.check()
                file.write(chunk)
                received += len(chunk)
                pool.advance(len(chunk), moved=True)
        if received != block.length:
            raise Interrupted(f"{hdfs.address}: {fetch.source!r} ended early")
    except MillraceError:
        pool.advance(-received, moved=False)
        raise
    digest = _digest(fetch, number)
    with mapped_errors("file", str(fetch.journal)), fetch.lock, fetch.journal.open("a") as journal:
        journal.write(f"{number} {digest}\n")
        fetch.done[number] = digest
    fail_here("transfer.part_done")


def _verify(hdfs: WebHdfs, fetch: _Fetch) -> None:
    """Compare the whole file with the cluster's checksum, and flush it to the disk."""
    if fetch.algorithm is not None:
        found = of_file([bytes.fromhex(fetch.done[number]) for number in range(len(fetch.blocks))])
        same = found == fetch.expected
    else:
        same = is_same(hdfs, fetch.source, fetch.staged)
    if not same:
        fetch.journal.unlink(missing_ok=True)
        raise StorageError(
            f"{hdfs.address}: {fetch.source!r} arrived damaged, or changed meanwhile", hint="run the command again"
        )
    with mapped_errors("file", str(fetch.staged)), fetch.staged.open("rb") as file:
        os.fsync(file.fileno())


def _commit(staging: Path, target: Path) -> None:
    files = LocalFiles()
    tree, old = staging / "tree", staging / "replaced"
    if not target.exists() or (tree.is_file() and target.is_file()):
        if target.exists():
            files.replace(str(tree), str(target))
        else:
            files.rename_new(str(tree), str(target))
        return
    files.remove(str(old))
    files.rename_new(str(target), str(old))
    try:
        files.rename_new(str(tree), str(target))
    except OSError:
        files.rename_new(str(old), str(target))
        raise


def _holds_same(hdfs: WebHdfs, source: str, target: Path, found: dict[str, Status], workers: int) -> bool:
    if target.is_file():
        return is_same(hdfs, source, target)
    local = {path.relative_to(target).as_posix(): path for path in target.rglob("*")}
    if local.keys() != found.keys() or any(path.is_dir() != found[name].is_folder for name, path in local.items()):
        return False
    files = {name: each for name, each in found.items() if not each.is_folder}
    if any(local[name].stat().st_size != each.length for name, each in files.items()):
        return False
    with transfer_pool(f"compare {target.name}", sum(each.length for each in files.values()), workers) as pool:
        compared = [pool.submit(is_same, hdfs, f"{source.rstrip('/')}/{name}", local[name]) for name in files]
        return all(each.result() for each in compared)
