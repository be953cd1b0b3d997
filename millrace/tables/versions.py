"""Table versions: finds the files of Delta tables by delta-rs, without a JVM.

Spark writes tables. All other code reads their log here, and their files by `millrace.tables.rows`.
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyarrow as pa

from millrace.digests import digest_of
from millrace.errors import ArtifactExists, ArtifactNotFound, StorageError
from millrace.retry import NO_RETRY, RetryPolicy
from millrace.storage import Files, Store, delta_errors, delta_options, files_of, is_plain, mapped_errors

if TYPE_CHECKING:
    from deltalake import DeltaTable

CLEAN = "clean"
REJECTS = "rejects"
PREDICTIONS = "predictions"
DIGESTS = "_digests"
"""Folder in a table for the digests of its data files; Delta ignores names that start with an underscore."""


def table_parts(product: str, table: str) -> tuple[str, str, str]:
    """Return the parts of a table's path under the store's root."""
    return ("tables", product, table)


@dataclass(frozen=True)
class DataFile:
    """One Parquet file of a table version.

    Attributes:
        path: Absolute path, as `millrace.storage.open_input` accepts it.
        rows: Exact row count from the log.
        partition: Value by partition column.
        sha256: Digest of its bytes; empty if the table's writer stored none.
    """

    path: str
    rows: int
    partition: dict[str, str]
    sha256: str = ""


@dataclass(frozen=True)
class TableVersion:
    """One immutable version of a table.

    Attributes:
        name: ``product/table``.
        uri: Folder of the table, as Spark and delta-rs accept it.
        version: Number in the Delta log.
        columns: Delta type name by column, partition columns included.
        files: Data files, in a fixed order.
        commit: Metadata that the writer recorded in the commit: key, contract and source digests, counts.
        committed: Time of the commit, for display and for the default logical date.
        retry: The policy of the store that the version was found in, for its log and its files.
    """

    name: str
    uri: str
    version: int
    columns: dict[str, str]
    files: tuple[DataFile, ...]
    commit: dict[str, Any]
    committed: datetime
    retry: RetryPolicy = field(default=NO_RETRY, compare=False, repr=False)

    def files_of(self, split: str | None) -> tuple[DataFile, ...]:
        """Return the files of one split, or all files."""
        return tuple(f for f in self.files if split is None or f.partition.get("split") == split)

    def rows_of(self, split: str | None = None) -> int:
        """Return the exact number of rows, from the log alone."""
        return sum(file.rows for file in self.files_of(split))

    @property
    def digest(self) -> str:
        """Identifies the rows: data files never change, and their names are unique."""
        names = [file.path.removeprefix(f"{self.uri}/") for file in self.files]
        return digest_of(self.name, [(name, file.rows) for name, file in zip(names, self.files, strict=True)])


def find_table(store: Store, product: str, table: str, version: int | None = None) -> TableVersion:
    """Find a table version; the newest by default.

    Raises:
        ArtifactNotFound: There is no such table or version.
        StorageError: The log cannot be read.
    """
    from deltalake.exceptions import DeltaError, TableNotFoundError

    parts = table_parts(product, table)
    name = "/".join(parts[1:])
    if not all(map(is_plain, parts)) or not store.exists(*parts, "_delta_log"):
        raise ArtifactNotFound(kind="table", name=name, hint=f"run: millrace ingest FILE, for product {product}")
    try:
        return store.retry.call(_find, store, store.uri(*parts), name, version)
    except TableNotFoundError as error:
        raise ArtifactNotFound(kind="table", name=name) from error
    except (DeltaError, OSError) as error:
        raise StorageError(f"table '{name}' cannot be read: {error}") from error


def _find(store: Store, uri: str, name: str, version: int | None) -> TableVersion:
    from deltalake import DeltaTable

    with delta_errors(uri):
        delta = DeltaTable(uri, storage_options=delta_options(uri))
        if version is not None and not 0 <= version <= delta.version():
            hint = f"the newest version is {delta.version()}"
            raise ArtifactNotFound(kind="table", name=name, version=version, hint=hint)
        if version is not None:
            delta.load_as_version(version)
        return _resolve(delta, name, store, uri)


def _resolve(delta: "DeltaTable", name: str, store: Store, folder: str) -> TableVersion:
    actions = pa.table(delta.get_add_actions(flatten=True)).to_pylist()
    digests = read_digests(store.files, folder, delta.version())
    files = tuple(
        DataFile(
            path=f"{folder}/{unquote(action['path'])}",
            rows=action["num_records"],
            partition={k.removeprefix("partition."): v for k, v in action.items() if k.startswith("partition.")},
            sha256=digests.get(unquote(action["path"]), ""),
        )
        for action in sorted(actions, key=lambda action: str(action["path"]))
    )
    commit = _commit_info(store.files, folder, delta.version())
    schema = json.loads(delta.schema().to_json())
    return TableVersion(
        name=name,
        uri=folder,
        version=delta.version(),
        columns={f["name"]: f["type"] if isinstance(f["type"], str) else f["type"]["type"] for f in schema["fields"]},
        files=files,
        commit=json.loads(commit.get("userMetadata") or "{}"),
        committed=datetime.fromtimestamp(commit["timestamp"] / 1000).astimezone(),
        retry=store.retry,
    )


def read_digests(files: Files, folder: str, version: int) -> dict[str, str]:
    """Return the SHA-256 of the data files of a version by path in the table; empty if its writer stored none.

    Delta's log has no field for them, so they are in a file beside it. They also cover what the checksums of pages do
    not, such as footers.
    """
    path = f"{folder}/{DIGESTS}/{version:020}.json"
    try:
        with files.open_input(path) as file:
            return dict(json.loads(file.read()))
    except FileNotFoundError:
        return {}


def keep_digests(store: Store, table: TableVersion, digests: Mapping[str, str]) -> None:
    """Store the digests of a version's files, by `DataFile.path`; existing ones stay."""
    data = json.dumps({path.removeprefix(f"{table.uri}/"): digest for path, digest in digests.items()}).encode()
    with contextlib.suppress(ArtifactExists):
        store.put_new(data, *table_parts(*table.name.split("/")), DIGESTS, f"{table.version:020}.json")


def _commit_info(files: Files, folder: str, version: int) -> dict[str, Any]:
    # Not from DeltaTable.history: for a pinned version it returns the newest commits with wrong numbers.
    log = f"{folder}/_delta_log/{version:020}.json"
    with files.open_input(log) as file:
        actions = [json.loads(line) for line in file.read().decode().splitlines()]
    info: dict[str, Any] = next((action["commitInfo"] for action in actions if "commitInfo" in action), {})
    return {"timestamp": files.modified(log) * 1000, **info}


def read_commit(table: TableVersion, version: int) -> tuple[str, dict[str, Any]]:
    """Return the operation of a commit, as Delta names it, and its writer's metadata; empty if there is none.

    Raises:
        ArtifactNotFound: The log does not have this commit, or no longer.
        StorageError: The log cannot be read.
    """
    with mapped_errors("commit", f"{table.uri}@{version}"):
        info = _commit_info(files_of(table.uri, table.retry), table.uri, version)
    return str(info.get("operation", "")), json.loads(info.get("userMetadata") or "{}")
