"""Finds the files of a source: next to the product file, on HDFS, or in an installed package."""

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

from millrace.config.sections.product import Config
from millrace.config.sections.sources import Source
from millrace.config.yaml.document import Document
from millrace.errors import ConfigError, InputMissing, Problem
from millrace.retry import NO_RETRY, RetryPolicy
from millrace.storage import Entry, files_of, find_entries, has_pattern, mapped_errors, open_input, resolve_root

PACKAGE_SCHEME: Final = "package://"
SCHEMES: Final = ("file", "package", "hdfs")
_MOST_CHECKED: Final = 20
"""Most files of a source that are opened before Spark starts."""
_MOST_FOLDERS: Final = 20
"""Most folders that are looked at for the log of a Delta table."""


def check_sources(config: Config, document: Document) -> list[Problem]:
    """Report paths with an unsupported scheme, and `incremental` for sources that cannot be incremental."""
    problems = []
    for name, source in config.sources.items():
        for path in source.path:
            scheme, colon, _ = path.partition("://")
            if colon and scheme not in SCHEMES:
                key = ("sources", name, "path")
                allowed = "expected a path, file:///path, hdfs://host:port/path or package://distribution/path"
                problems.append(Problem(document.location(key), ".".join(key), f"found '{path}'", allowed))
        if source.incremental and (name != config.ingest.base or source.format == "jdbc"):
            key = ("sources", name, "incremental")
            allowed = "only the base source can be incremental, and only if it reads files"
            problems.append(Problem(document.location(key), ".".join(key), "found true", allowed))
    return problems


def resolve_path(path: str, folder: Path, key: str) -> str:
    """Resolve a path in a product file for `millrace.storage`.

    Args:
        path: The path in the product file.
        folder: The folder of the product file.
        key: Key of the path, for messages.

    Raises:
        InputMissing: The package is not installed.
        ConfigError: An HDFS path has no NameNode.
    """
    if path.startswith("hdfs://"):
        try:
            return resolve_root(path)
        except ConfigError as error:
            raise ConfigError(str(error).replace("store.root", key), hint=error.hint) from None
    if not path.startswith(PACKAGE_SCHEME):
        return str(folder / Path(path.removeprefix("file://")).expanduser())
    distribution, _, inside = path.removeprefix(PACKAGE_SCHEME).partition("/")
    try:
        return str(metadata.distribution(distribution).locate_file(inside))
    except metadata.PackageNotFoundError:
        raise InputMissing(
            f"{key}: package '{distribution}' is not installed", hint=f"pip install {distribution}"
        ) from None


def find_inputs(source: Source, folder: Path, key: str, retry: RetryPolicy = NO_RETRY) -> list[Entry]:
    """Find the files of a source, each once, in a fixed order.

    Raises:
        InputMissing: A path or pattern names no file.
        StorageError: A folder cannot be listed.
    """
    found: dict[str, Entry] = {}
    for path_or_pattern in source.path:
        path = resolve_path(path_or_pattern, folder, key)
        with mapped_errors("path", path):
            try:
                entries = find_entries(files_of(path, retry), path)
            except (FileNotFoundError, NotADirectoryError):
                raise InputMissing(
                    f"{key}: there is no file {path}", hint="paths are relative to the product file"
                ) from None
        if not entries:
            what = "no file matches" if has_pattern(path) else "there is no file in"
            raise InputMissing(f"{key}: {what} {path}")
        found |= {entry.path: entry for entry in entries}
    if source.format == "parquet":
        _refuse_delta_tables(list(found), key, retry)
    return list(found.values())


def check_readable(entries: Sequence[Entry], retry: RetryPolicy = NO_RETRY) -> None:
    """Open some of the files, so that a missing permission is reported before Spark starts.

    Raises:
        ConfigError: No permission for a file.
        StorageError: A file cannot be opened.
    """
    for entry in entries[:_MOST_CHECKED]:
        with mapped_errors("file", entry.path), open_input(entry.path, retry):
            pass


def _refuse_delta_tables(paths: Sequence[str], key: str, retry: RetryPolicy) -> None:
    """Refuse the files of a Delta table: those of earlier versions lie beside those of the current one."""
    above_partitions = sorted({path.split("=", 1)[0].rpartition("/")[0] for path in paths})
    parents = sorted({path.rpartition("/")[0] for path in paths})
    for folder in dict.fromkeys((*above_partitions[:_MOST_FOLDERS], *parents[:_MOST_FOLDERS])):
        with mapped_errors("path", folder):
            is_table = files_of(folder, retry).exists(f"{folder}/_delta_log")
        if is_table:
            raise ConfigError(
                f"{key}: {folder} is a Delta table; read as Parquet, it would have the rows of earlier versions, too",
                hint="write the version that you need to Parquet files, for example with deltalake or Spark",
            )
