"""Uploads files and folders to HDFS: staged by blocks beside the target, verified, then renamed in one step.

The staging folder is the state of an interrupted transfer: a complete block has its number as name. When the same
command runs again, it compares these blocks with the local file, and sends the others.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from millrace.errors import ConfigError, MillraceError, Refused, StorageError, Unavailable
from millrace.failpoints import fail_here
from pipelines.transfer.checksums import is_same
from pipelines.transfer.errors import Interrupted
from pipelines.transfer.plan import Moved, TransferPool, local_tree, transfer_pool
from pipelines.transfer.staging import clear, staging_name, take
from pipelines.transfer.webhdfs import CHUNK_BYTES, Block, Status, WebHdfs

if TYPE_CHECKING:
    from concurrent.futures import Future

OLD: Final = "replaced"


@dataclass(frozen=True)
class _Upload:
    """The upload of one file.

    Attributes:
        parts: Folder of its blocks.
        staged: Path of the assembled file.
        stamp: Size and modification time, to detect changes during the transfer.
    """

    source: Path
    parts: str
    staged: str
    blocks: tuple[Block, ...]
    stamp: tuple[int, int]

    def part(self, number: int) -> str:
        return f"{self.parts}/{number:06d}"


def put(hdfs: WebHdfs, source: Path, target: str, *, force: bool, workers: int, block_bytes: int) -> Moved:
    """Upload a local file or folder; the target appears completely or not at all.

    Args:
        hdfs: The target file system.
        source: A file, or a folder with its content.
        target: The path in HDFS; its parent folder is created if it is missing.
        force: Replace an existing target. A file is replaced in one step. While a folder is replaced, the old or the
            new one always exists, under its name or in the staging folder beside it.
        workers: Number of threads.
        block_bytes: Size of the blocks, which are sent and resumed one by one.

    Raises:
        InputMissing: There is no such local file or folder.
        Refused: The target exists and differs, or only one of source and target is a folder.
        ConfigError: Missing permission, or a wrong address.
        StorageError: The cluster failed; the same command resumes the transfer.
    """
    names, empty = local_tree(source)
    total = sum((source / name if name else source).stat().st_size for name in names)
    before = hdfs.status(target)
    parent, _, name = target.rpartition("/")
    staged_as = staging_name("put", name)
    if before is not None:
        if before.is_folder == source.is_file():
            hint = "end it with / to put the file inside" if before.is_folder else ""
            raise Refused(f"{hdfs.address}: {target!r} is a {'folder' if before.is_folder else 'file'}", hint=hint)
        if _holds_same(hdfs, source, target, names, empty, workers):
            clear(hdfs, parent, staged_as)
            return Moved("already", target, len(names), total, 0)
        if not force:
            raise Refused(f"{hdfs.address}: {target!r} exists already, and differs", hint="replace it with --force")
    staging = take(hdfs, parent, staged_as)
    # Blocks are joined by concat, which separates names by commas.
    whole = "," in staging
    uploads = [_plan(source, name, staging, 0 if whole else block_bytes) for name in names]
    with transfer_pool(f"put {source.name}", total, workers) as pool:
        _send_all(hdfs, pool, uploads, block_bytes)
        if not source.is_file():
            _shape(hdfs, f"{staging}/tree", set(names), empty)
        fail_here("transfer.before_rename")
        _commit(hdfs, staging, target, before)
    clear(hdfs, parent, staged_as)
    return Moved("committed", target, len(names), total, pool.sent)


def _plan(source: Path, name: str, staging: str, block_bytes: int) -> _Upload:
    path = source / name if name else source
    stat = path.stat()
    size = stat.st_size
    step = block_bytes or size
    blocks = tuple(Block(at, min(step, size - at)) for at in range(0, size, step)) if size else (Block(0, 0),)
    parts = f"{staging}/parts/{sha256(name.encode()).hexdigest()[:32]}"
    staged = f"{staging}/tree/{name}" if name else f"{staging}/tree"
    return _Upload(path, parts, staged, blocks, (size, stat.st_mtime_ns))


def _send_all(hdfs: WebHdfs, pool: TransferPool, uploads: list[_Upload], block_bytes: int) -> None:
    found = [pool.submit(_find, hdfs, upload) for upload in uploads]
    sending: list[tuple[_Upload, list[Future[None]]]] = []
    for upload, finding in zip(uploads, found, strict=True):
        parts = finding.result()
        if parts is None:
            pool.advance(upload.stamp[0], moved=False)
            continue
        work = [
            pool.submit(_send, hdfs, pool, upload, number, block_bytes, parts) for number in range(len(upload.blocks))
        ]
        sending.append((upload, work))
    ends = []
    for upload, work in sending:
        for each in work:
            each.result()
        ends.append(pool.submit(_assemble, hdfs, upload))
    for end in ends:
        end.result()


def _find(hdfs: WebHdfs, upload: _Upload) -> dict[str, Status] | None:
    """Find the staged blocks of an interrupted transfer; None if the file is complete."""
    if is_same(hdfs, upload.staged, upload.source):
        return None
    hdfs.remove(upload.staged)
    hdfs.make_folder(upload.parts)
    hdfs.make_folder(upload.staged.rpartition("/")[0])
    return hdfs.names(upload.parts)


def _send(
    hdfs: WebHdfs, pool: TransferPool, upload: _Upload, number: int, block_bytes: int, found: dict[str, Status]
) -> None:
    """Send a block, unless it is staged already."""
    block, part = upload.blocks[number], upload.part(number)
    first = found.get(upload.part(0).rpartition("/")[2])
    # A first part longer than a block was being assembled and holds the next blocks too. The file is verified later.
    is_in_first = first is not None and upload.blocks[0].length < first.length > block.offset
    if is_in_first or (part.rpartition("/")[2] in found and is_same(hdfs, part, upload.source, block)):
        pool.advance(block.length, moved=False)
        return
    hdfs.remove(part)
    staged = f"{upload.parts}/.{number}-{uuid.uuid4().hex}"
    sent = 0

    def chunks() -> Iterator[bytes]:
        nonlocal sent
        with upload.source.open("rb") as file:
            file.seek(block.offset)
            while sent < block.length and (data := file.read(min(CHUNK_BYTES, block.length - sent))):
                pool.check()
                yield data
                sent += len(data)
                pool.advance(len(data), moved=True)

    try:
        hdfs.create(staged, chunks(), block_bytes)
        if not is_same(hdfs, staged, upload.source, block):
            _check_unchanged(upload)
            raise Interrupted(f"{hdfs.address}: {part!r} arrived damaged")
        hdfs.rename_new(staged, part)
    except MillraceError:
        pool.advance(-sent, moved=False)
        raise
    fail_here("transfer.part_done")


def _assemble(hdfs: WebHdfs, upload: _Upload) -> None:
    """Join the blocks, verify the whole file, and move it to its staged path."""
    whole = upload.part(0)
    staged = hdfs.names(upload.parts)
    rest = [upload.part(number) for number in range(1, len(upload.blocks)) if f"{number:06d}" in staged]
    if rest:
        hdfs.concat(whole, rest)
    _check_unchanged(upload)
    if not is_same(hdfs, whole, upload.source):
        hdfs.remove(upload.parts)
        raise StorageError(f"{hdfs.address}: {str(upload.source)!r} arrived damaged", hint="run the command again")
    hdfs.rename_new(whole, upload.staged)
    hdfs.remove(upload.parts)


def _check_unchanged(upload: _Upload) -> None:
    stat = upload.source.stat()
    if (stat.st_size, stat.st_mtime_ns) != upload.stamp:
        raise StorageError(
            f"{str(upload.source)!r} changed while it was sent", hint="run the command again when the file is complete"
        )


def _shape(hdfs: WebHdfs, tree: str, names: set[str], empty: list[str]) -> None:
    """Create empty folders, and remove staged files of an earlier transfer that the local folder lacks."""
    for each in ("", *empty):
        hdfs.make_folder(f"{tree}/{each}".rstrip("/"))
    wanted = names | set(empty)
    folders = {name[:at] for name in wanted for at, mark in enumerate(name) if mark == "/"}
    for name, _ in list(hdfs.walk(tree)):
        if name not in wanted and name not in folders:
            hdfs.remove(f"{tree}/{name}")


def _commit(hdfs: WebHdfs, staging: str, target: str, before: Status | None) -> None:
    tree, old = f"{staging}/tree", f"{staging}/{OLD}"
    if before is None:
        try:
            hdfs.rename_new(tree, target)
        except (Refused, Unavailable) as error:
            if hdfs.status(target) is None:
                raise
            raise Refused(f"{hdfs.address}: {target!r} exists already: another transfer was first") from error
        return
    if not before.is_folder:
        hdfs.replace(tree, target)
        return
    # HDFS cannot replace a folder with content. A folder that a killed swap left is older than the current one.
    hdfs.remove(old)
    hdfs.rename_new(target, old)
    try:
        hdfs.rename_new(tree, target)
    except MillraceError:
        hdfs.rename_new(old, target)
        raise


def _holds_same(hdfs: WebHdfs, source: Path, target: str, names: list[str], empty: list[str], workers: int) -> bool:
    if source.is_file():
        return is_same(hdfs, target, source)
    found = dict(hdfs.walk(target))
    if {name for name, status in found.items() if not status.is_folder} != set(names):
        return False
    if not all(name in found and found[name].is_folder for name in empty):
        return False
    total = sum(status.length for status in found.values())
    if any(found[name].length != (source / name).stat().st_size for name in names):
        return False
    with transfer_pool(f"compare {source.name}", total, workers) as pool:
        compared = [pool.submit(is_same, hdfs, f"{target}/{name}", source / name) for name in names]
        return all(each.result() for each in compared)


def checked_target(path: str, source_name: str) -> str:
    """Return the full path of a target; one that ends with ``/`` is a folder to put the source into.

    Raises:
        ConfigError: It is not an absolute path in HDFS.
    """
    full = f"{path}{source_name}" if path.endswith("/") else path
    return checked_path(full)


def checked_path(path: str) -> str:
    """Return a path without redundant slashes.

    Raises:
        ConfigError: It is not an absolute path in HDFS.
    """
    parts = path.split("/")
    if not path.startswith("/") or ".." in parts or "." in parts or "\0" in path:
        raise ConfigError(f"{path!r} is not a path in HDFS", hint="write an absolute path, such as /data/flights.csv")
    return "/" + "/".join(part for part in parts if part)
