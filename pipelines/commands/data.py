"""``millrace data``, ``models push`` and ``models pull``: to and from a cluster's HDFS, from outside."""

import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ByteSize, TypeAdapter, ValidationError

from millrace.config.load import find_store_root, find_transfer
from millrace.errors import ConfigError, InputMissing, Refused
from millrace.logs import configure_logging
from millrace.models.files import checked_copy
from millrace.models.store import ModelStore
from millrace.storage import Store
from pipelines.commands.show import answer, print_table
from pipelines.jobs.exits import guard
from pipelines.jobs.interrupts import Interrupts
from pipelines.jobs.stages import print_result

if TYPE_CHECKING:
    from pipelines.transfer.plan import Moved

app = typer.Typer(
    help="Files to and from a cluster's HDFS over HTTP, from outside; big files in chunks.", no_args_is_help=True
)
Profile = Annotated[str, typer.Option(help="Names the cluster, under transfer: a name in conf/profiles, or a path.")]
Url = Annotated[str | None, typer.Option(help="WebHDFS of the NameNode, instead of the profile's transfer.url.")]
Workers = Annotated[int | None, typer.Option(min=1, max=64, help="Files and blocks on their way at once.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
StoreRoot = Annotated[str | None, typer.Option("--store", help="Root of the store here; by default the profile's.")]
Name = Annotated[str, typer.Argument(help="Name of the model.")]
Version = Annotated[int | None, typer.Option(min=1, help="By default the newest.")]


def _run(action: Callable[[], None]) -> None:
    def run() -> None:
        configure_logging()
        try:
            with Interrupts():
                action()
        except ModuleNotFoundError as error:
            # A server is installed without what reaches a cluster from outside.
            if error.name not in ("hdfs", "crc32c", "requests"):
                raise
            raise ConfigError(
                f"the package {error.name} is not installed", hint="install millrace[transfer]"
            ) from error

    guard(run)


def _tell(moved: "Moved", started: float) -> None:
    what = f"{moved.files:,} file{'' if moved.files == 1 else 's'}, {moved.bytes:,} bytes"
    seconds = time.monotonic() - started
    words = "is there already" if moved.outcome == "already" else f"{moved.sent:,} sent in {seconds:.1f} s, verified"
    sys.stderr.write(f"{moved.target!r}: {what}, {words}\n")
    print_result(asdict(moved))


@app.command()
def put(
    source: Annotated[Path, typer.Argument(help="A local file or folder.")],
    target: Annotated[str, typer.Argument(help="Its path in HDFS; one that ends with / is the folder to put it into.")],
    force: Force = False,
    profile: Profile = "local",
    url: Url = None,
    workers: Workers = None,
) -> None:
    """Copy a file or folder into HDFS: verified, visible at once, resumed if it was interrupted."""

    def done() -> None:
        from pipelines.transfer import connect
        from pipelines.transfer.put import checked_target, put

        transfer = find_transfer(profile, url=url, workers=workers)
        started = time.monotonic()
        path = checked_target(target, source.absolute().name)
        block = transfer.block_mb << 20
        moved = put(connect(transfer), source, path, force=force, workers=transfer.workers, block_bytes=block)
        _tell(moved, started)

    _run(done)


@app.command()
def get(
    source: Annotated[str, typer.Argument(help="A path in HDFS.")],
    target: Annotated[Path, typer.Argument(help="Its local path, or the folder to put it into.")] = Path("."),
    force: Force = False,
    profile: Profile = "local",
    url: Url = None,
    workers: Workers = None,
) -> None:
    """Copy a file or folder out of HDFS: verified, visible at once, resumed if it was interrupted."""

    def done() -> None:
        from pipelines.transfer import connect, get
        from pipelines.transfer.put import checked_path

        transfer = find_transfer(profile, url=url, workers=workers)
        started = time.monotonic()
        path = checked_path(source)
        name = path.rpartition("/")[2]
        into = str(target) == "." or target.as_posix().endswith("/..") or str(target) == ".."
        local = target / name if into else target
        _tell(get(connect(transfer), path, local, force=force, workers=transfer.workers), started)

    _run(done)


@app.command("ls")
def list_folder(
    path: Annotated[str, typer.Argument(help="A path in HDFS.")] = "/",
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout, no table.")] = False,
    profile: Profile = "local",
    url: Url = None,
) -> None:
    """Show what is in a folder of HDFS, or one file."""

    def done() -> None:
        from pipelines.transfer import connect
        from pipelines.transfer.put import checked_path

        hdfs, folder = connect(find_transfer(profile, url=url)), checked_path(path)
        status = hdfs.status(folder)
        if status is None:
            raise InputMissing(f"{hdfs.address}: there is no file or folder {folder!r}")
        found = hdfs.names(folder) if status.is_folder else {folder.rpartition("/")[2]: status}
        entries: list[dict[str, object]] = []
        for name, each in found.items():
            kind = "folder" if each.is_folder else "file"
            when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(each.modified / 1000))
            entries.append({"name": name, "kind": kind, "bytes": each.length, "owner": each.owner, "modified": when})
        if as_json:
            print_result({"path": folder, "entries": entries})
            return
        # A name may hold anything, also what a terminal would obey.
        rows = [(n if (n := str(e["name"])).isprintable() else repr(n), *list(e.values())[1:]) for e in entries]
        print_table(f"{folder} on {hdfs.address}", ("name", "kind", "bytes", "owner", "modified"), rows)
        answer({"path": folder, "entries": entries})

    _run(done)


@app.command("rm")
def remove(
    path: Annotated[str, typer.Argument(help="A file or folder of HDFS.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    in_store: Annotated[bool, typer.Option("--in-store", help="Also if it is a store's table, model or run.")] = False,
    profile: Profile = "local",
    url: Url = None,
) -> None:
    """Remove a file, or a folder with all that is in it; not into a trash, for good."""

    def done() -> None:
        from pipelines.transfer import connect
        from pipelines.transfer.put import checked_path
        from pipelines.transfer.remove import check_removable

        transfer = find_transfer(profile, url=url)
        hdfs, target = connect(transfer), checked_path(path)
        count = check_removable(hdfs, target, transfer.root, in_store=in_store)
        if not yes and not _agreed(f"remove {target!r}, {count:,} bytes, from {hdfs.address}?"):
            raise Refused(f"{target!r} stays: nobody said that it may go", hint="--yes if it may")
        hdfs.remove(target)
        print_result({"outcome": "removed", "path": target, "bytes": count})

    _run(done)


def _agreed(question: str) -> bool:
    """Ask at the terminal; where there is none, nobody agrees."""
    try:
        return _has_terminal() and typer.confirm(question, err=True)
    except typer.Abort:
        return False


def _has_terminal() -> bool:
    return sys.stdin.isatty()


@app.command()
def split(
    file: Annotated[Path, typer.Argument(help="A local file.")],
    chunk_size: Annotated[str, typer.Option(help="Such as 64MB, or 64MiB.")] = "64MB",
    to: Annotated[Path | None, typer.Option(help="Folder for the chunks; by default FILE.chunks.")] = None,
) -> None:
    """Cut a big file into chunks of one size, with a manifest of their digests."""

    def done() -> None:
        from pipelines.transfer import chunks

        size = parse_size(chunk_size)
        started = time.monotonic()
        _tell(chunks.split(file, to or file.with_name(f"{file.name}.chunks"), size), started)

    _run(done)


@app.command()
def merge(
    folder: Annotated[Path, typer.Argument(help="The folder that split made.")],
    to: Annotated[Path | None, typer.Option(help="The file; by default its old name, beside the folder.")] = None,
) -> None:
    """Make the file of its chunks again; every chunk that is missing or changed is named."""

    def done() -> None:
        from pipelines.transfer import chunks

        started = time.monotonic()
        _tell(chunks.merge(folder, to), started)

    _run(done)


def parse_size(text: str) -> int:
    """Bytes of a size such as 64MB.

    Raises:
        ConfigError: It is none, or less than one byte.
    """
    try:
        size = int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError:
        size = 0
    if size < 1:
        raise ConfigError(f"--chunk-size {text}: that is no size", hint="write it as 64MB, 64MiB or a number of bytes")
    return size


def push(
    name: Name,
    version: Version = None,
    store: StoreRoot = None,
    profile: Profile = "local",
    url: Url = None,
    workers: Workers = None,
) -> None:
    """Copy a version from the store here into the one behind WebHDFS: whole and verified, or not at all."""

    def done() -> None:
        from pipelines.transfer import connect, versions

        transfer = find_transfer(profile, url=url, workers=workers)
        started = time.monotonic()
        hdfs = connect(transfer)
        found = checked_copy(ModelStore(Store(store or find_store_root(profile))).open(name, version))
        moved = versions.push(hdfs, transfer.root, found, workers=transfer.workers, block_bytes=transfer.block_mb << 20)
        _tell(moved, started)

    _run(done)


def pull(
    name: Name,
    version: Version = None,
    store: StoreRoot = None,
    profile: Profile = "local",
    url: Url = None,
    workers: Workers = None,
) -> None:
    """Copy a version from the store behind WebHDFS into the one here: whole and verified, or not at all."""

    def done() -> None:
        from pipelines.transfer import connect, versions

        transfer = find_transfer(profile, url=url, workers=workers)
        started = time.monotonic()
        here = Store(store or find_store_root(profile))
        moved = versions.pull(connect(transfer), transfer.root, name, version, here, workers=transfer.workers)
        _tell(moved, started)

    _run(done)
