"""``millrace data``, ``models push`` and ``models pull``: transfers to and from HDFS from outside the cluster."""

import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ByteSize, TypeAdapter, ValidationError

from millrace.config.load import find_store_root, find_transfer
from millrace.config.sections.profile import Transfer
from millrace.errors import ConfigError, InputMissing, Refused
from millrace.logs import configure_logging
from millrace.models.files import checked_copy
from millrace.models.store import ModelStore
from millrace.storage import Store
from pipelines.commands.hints import command_line
from pipelines.commands.output import print_if_piped, print_table
from pipelines.jobs.exits import guard
from pipelines.jobs.interrupts import Interrupts
from pipelines.jobs.stages import print_result

if TYPE_CHECKING:
    from pipelines.transfer.plan import Moved
    from pipelines.transfer.webhdfs import WebHdfs

app = typer.Typer(
    help="Transfer files to and from a cluster's HDFS over HTTP; split big files into chunks.", no_args_is_help=True
)
Profile = Annotated[str, typer.Option(help="Profile with the cluster's address: a name in conf/profiles, or a path.")]
Url = Annotated[str | None, typer.Option(help="Address of WebHDFS; overrides the profile's transfer.url.")]
Workers = Annotated[int | None, typer.Option(min=1, max=64, help="Files and blocks transferred at the same time.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing file or folder.")]
StoreRoot = Annotated[str | None, typer.Option("--store", help="Root of the local store; by default the profile's.")]
Name = Annotated[str, typer.Argument(help="Name of the model.")]
Version = Annotated[int | None, typer.Option(min=1, help="Version number; by default the newest.")]


def _run(action: Callable[[], None]) -> None:
    """Run a command's work: with a log, signals as errors, and a hint where a package is missing."""

    def run() -> None:
        configure_logging()
        try:
            with Interrupts():
                action()
        except ModuleNotFoundError as error:
            # An installation for serving lacks the packages that reach a cluster from outside.
            if error.name not in ("hdfs", "crc32c", "requests"):
                raise
            raise ConfigError(
                f"the package {error.name} is not installed", hint="install millrace[transfer]"
            ) from error

    guard(run)


def _copy(
    profile: str, url: str | None, workers: int | None, copy: Callable[[Callable[[], "WebHdfs"], Transfer], "Moved"]
) -> None:
    """Copy something to or from the cluster, and report it; `copy` gets the function that connects."""

    def run() -> None:
        from pipelines.transfer import connect

        started = time.monotonic()
        transfer = find_transfer(profile, url=url, workers=workers)
        _report(copy(partial(connect, transfer), transfer), started)

    _run(run)


def _report(moved: "Moved", started: float) -> None:
    what = f"{moved.files:,} file{'' if moved.files == 1 else 's'}, {moved.bytes:,} bytes"
    seconds = time.monotonic() - started
    words = "exists already" if moved.outcome == "already" else f"{moved.sent:,} sent in {seconds:.1f} s, verified"
    sys.stderr.write(f"{moved.target!r}: {what}, {words}\n")
    print_result(asdict(moved))


@app.command()
def put(
    source: Annotated[Path, typer.Argument(help="A local file or folder.")],
    target: Annotated[str, typer.Argument(help="Its path in HDFS; with / at the end, the folder to put it into.")],
    force: Force = False,
    profile: Profile = "local",
    url: Url = None,
    workers: Workers = None,
) -> None:
    """Upload a file or folder to HDFS. It is verified, appears in one step, and resumes after an interruption."""

    def copy(connect: Callable[[], "WebHdfs"], transfer: Transfer) -> "Moved":
        from pipelines.transfer.put import checked_target, put

        path = checked_target(target, source.absolute().name)
        return put(connect(), source, path, force=force, workers=transfer.workers, block_bytes=transfer.block_mb << 20)

    _copy(profile, url, workers, copy)


@app.command()
def get(
    source: Annotated[str, typer.Argument(help="A path in HDFS.")],
    target: Annotated[Path, typer.Argument(help="Its local path, or the folder to put it into.")] = Path("."),
    force: Force = False,
    profile: Profile = "local",
    url: Url = None,
    workers: Workers = None,
) -> None:
    """Download a file or folder from HDFS. It is verified, appears in one step, and resumes after an interruption."""

    def copy(connect: Callable[[], "WebHdfs"], transfer: Transfer) -> "Moved":
        from pipelines.transfer import get
        from pipelines.transfer.put import checked_path

        path = checked_path(source)
        name = path.rpartition("/")[2]
        is_folder = str(target) in (".", "..") or target.as_posix().endswith("/..")
        return get(connect(), path, target / name if is_folder else target, force=force, workers=transfer.workers)

    _copy(profile, url, workers, copy)


@app.command("ls")
def list_folder(
    path: Annotated[str, typer.Argument(help="A path in HDFS.")] = "/",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON to stdout, and no table.")] = False,
    profile: Profile = "local",
    url: Url = None,
) -> None:
    """List a folder of HDFS, or one file."""

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
        # A name may contain escape sequences, which a terminal would execute.
        rows = [(n if (n := str(e["name"])).isprintable() else repr(n), *list(e.values())[1:]) for e in entries]
        print_table(f"{folder} on {hdfs.address}", ("name", "kind", "bytes", "owner", "modified"), rows)
        print_if_piped({"path": folder, "entries": entries})

    _run(done)


@app.command("rm")
def remove(
    path: Annotated[str, typer.Argument(help="A file or folder of HDFS.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    in_store: Annotated[bool, typer.Option("--in-store", help="Allow a table, model or run of a store.")] = False,
    profile: Profile = "local",
    url: Url = None,
) -> None:
    """Delete a file, or a folder and its content, permanently (not into the trash)."""

    def done() -> None:
        from pipelines.transfer import connect
        from pipelines.transfer.put import checked_path
        from pipelines.transfer.remove import check_removable

        transfer = find_transfer(profile, url=url)
        hdfs, target = connect(transfer), checked_path(path)
        count = check_removable(hdfs, target, transfer.root, in_store=in_store)
        if not yes and not _is_confirmed(f"remove {target!r}, {count:,} bytes, from {hdfs.address}?"):
            raise Refused(f"{target!r} was not removed: not confirmed", hint="confirm with --yes")
        hdfs.remove(target)
        print_result({"outcome": "removed", "path": target, "bytes": count})

    _run(done)


def _is_confirmed(question: str) -> bool:
    """Ask for confirmation; without a terminal the answer is no."""
    try:
        return _has_terminal() and typer.confirm(question, err=True)
    except typer.Abort:
        return False


def _has_terminal() -> bool:
    return sys.stdin.isatty()


@app.command()
def split(
    file: Annotated[Path, typer.Argument(help="A local file.")],
    chunk_size: Annotated[str, typer.Option(help="Size of a chunk, such as 64MB or 64MiB.")] = "64MB",
    to: Annotated[Path | None, typer.Option(help="Folder for the chunks; by default FILE.chunks.")] = None,
) -> None:
    """Split a big file into chunks of equal size, with a manifest of their digests."""

    def done() -> None:
        from pipelines.transfer import chunks

        size = parse_size(chunk_size)
        started = time.monotonic()
        _report(chunks.split(file, to or file.with_name(f"{file.name}.chunks"), size), started)

    _run(done)


@app.command()
def merge(
    folder: Annotated[Path, typer.Argument(help="The folder that split created.")],
    to: Annotated[
        Path | None, typer.Option(help="The file to write; by default its old name beside the folder.")
    ] = None,
) -> None:
    """Join the chunks into the file again. An error names every chunk that is missing or changed."""

    def done() -> None:
        from pipelines.transfer import chunks

        started = time.monotonic()
        _report(chunks.merge(folder, to), started)

    _run(done)


def parse_size(text: str) -> int:
    """Return the bytes of a size such as 64MB.

    Raises:
        ConfigError: The text is not a size, or is less than one byte.
    """
    try:
        size = int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError:
        size = 0
    if size < 1:
        raise ConfigError(f"--chunk-size {text}: not a size", hint="write it as 64MB, 64MiB or a number of bytes")
    return size


def push(
    name: Name,
    version: Version = None,
    store: StoreRoot = None,
    profile: Profile = "local",
    url: Url = None,
    workers: Workers = None,
) -> None:
    """Upload a model version from the local store to the store behind WebHDFS: complete, or not at all."""

    def copy(connect: Callable[[], "WebHdfs"], transfer: Transfer) -> "Moved":
        from pipelines.transfer import versions
        from pipelines.transfer.access import check_url

        models = ModelStore(Store(store or find_store_root(profile)))
        number = version or (models.versions(name) or [0])[-1]
        if models.is_foreign(name, number):
            there = f"{transfer.root.rstrip('/')}/models/{name}/{number}"
            here = models.store.uri("models", name, str(number))
            if url:
                check_url(url)  # before it is printed: it may have a password
            put = command_line("data", "put", here, there, profile=profile, url=url, workers=workers)
            raise Refused(
                f"model {name}/{number} was written by another system: nothing says whether its files are complete",
                hint=f"copy {here} to this machine and upload it with: millrace data put" if "://" in here else put,
            )
        found = checked_copy(models.open(name, version))
        block = transfer.block_mb << 20
        return versions.push(connect(), transfer.root, found, workers=transfer.workers, block_bytes=block)

    _copy(profile, url, workers, copy)


def pull(
    name: Name,
    version: Version = None,
    store: StoreRoot = None,
    profile: Profile = "local",
    url: Url = None,
    workers: Workers = None,
) -> None:
    """Download a model version from the store behind WebHDFS to the local store: complete, or not at all."""

    def copy(connect: Callable[[], "WebHdfs"], transfer: Transfer) -> "Moved":
        from pipelines.transfer import versions

        local = Store(store or find_store_root(profile))
        return versions.pull(connect(), transfer.root, name, version, local, workers=transfer.workers)

    _copy(profile, url, workers, copy)
