"""The store: every artifact that stages pass to each other lies under one root.

Only what needs no engine is here: whole small files, folders, and the two steps that make something visible at once
(`Store.put_new` and `Store.publish_folder`). Tables are read through `pipelines.tables`.
"""

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipelines.errors import ArtifactExists, ArtifactNotFound, ConfigError, StorageError
from pipelines.failpoints import fail_here


@contextlib.contextmanager
def mapped_errors(kind: str, name: str) -> Iterator[None]:
    """Turn the operating system's errors into the project's; the only place that does."""
    try:
        yield
    except FileNotFoundError as error:
        raise ArtifactNotFound(kind=kind, name=name) from error
    except FileExistsError as error:
        raise ArtifactExists(kind=kind, name=name) from error
    except PermissionError as error:
        raise ConfigError(
            f"no permission for {error.filename or name}",
            hint="give the user that runs this rights to the store",
        ) from error
    except OSError as error:
        raise StorageError(f"{kind} '{name}': {error.strerror or error}") from error


def local_path(root: str) -> Path:
    """The local folder that a store root names.

    Raises:
        ConfigError: The root has a scheme that this version does not serve.
    """
    parts = urlsplit(root)
    if parts.scheme in ("", "file") and parts.netloc in ("", "localhost"):
        path = unquote(parts.path) if parts.scheme else root
        return Path(path).expanduser().absolute()
    raise ConfigError(f"store.root: {root} has no supported scheme", hint="use a local path or file:///path")


def is_plain(name: str) -> bool:
    """Whether a name that a user typed names one visible thing in one folder."""
    return name != "" and name[0] != "." and not any(mark in name for mark in "/\\\0")


class Store:
    """A folder tree that holds tables, models and runs.

    Args:
        root: A local path or ``file://`` URI; created on first write.
    """

    def __init__(self, root: str) -> None:
        self.folder = local_path(root)

    @property
    def uri(self) -> str:
        """The root as a URI that Spark, delta-rs and pyarrow all take."""
        return self.folder.as_uri()

    def path(self, *parts: str) -> Path:
        """A place under the root; parts may hold ``/`` but never climb out of it."""
        path = self.folder.joinpath(*parts)
        if ".." in path.parts or not path.is_relative_to(self.folder):
            raise ValueError(f"{'/'.join(parts)!r} leaves the store")
        return path

    def exists(self, *parts: str) -> bool:
        """Whether a file or folder is there."""
        return self.path(*parts).exists()

    def names(self, *parts: str) -> list[str]:
        """Names in a folder, sorted, without hidden and staged ones; empty when there is no such folder."""
        folder = self.path(*parts)
        with mapped_errors("folder", "/".join(parts)):
            return sorted(p.name for p in folder.iterdir() if p.name[0] != ".") if folder.is_dir() else []

    def read(self, *parts: str) -> bytes:
        """A whole file.

        Raises:
            ArtifactNotFound: No such file.
        """
        with mapped_errors("file", "/".join(parts)):
            return self.path(*parts).read_bytes()

    def put(self, data: bytes, *parts: str) -> None:
        """Write a file so that readers see the old bytes or the new ones, and they survive a crash."""
        target = self.path(*parts)
        with mapped_errors("file", "/".join(parts)):
            staged = self._stage(data, target)
            staged.replace(target)
            _sync(target.parent)

    def put_new(self, data: bytes, *parts: str) -> None:
        """Write a file that must not be there yet; of several writers exactly one wins.

        Raises:
            ArtifactExists: The file is there already; it is unchanged.
        """
        target = self.path(*parts)
        with mapped_errors("file", "/".join(parts)):
            staged = self._stage(data, target)
            try:
                # A POSIX rename would silently replace the other writer's file; a hard link fails instead.
                os.link(staged, target)
            finally:
                staged.unlink()
            _sync(target.parent)

    def publish_folder(self, source: Path, *parts: str) -> None:
        """Copy a local folder to a new place, visible whole or not at all.

        Files are staged beside the target, flushed to the disk, then renamed in one step. A killed publish leaves
        only a hidden folder, which no reader lists.

        Raises:
            ArtifactExists: The place is taken; it is unchanged.
        """
        target = self.path(*parts)
        staged = target.with_name(f".tmp-{target.name}-{uuid.uuid4().hex}")
        with mapped_errors("folder", "/".join(parts)):
            try:
                shutil.copytree(source, staged)
                for path in staged.rglob("*"):
                    _sync(path)
                _sync(staged)
                fail_here("publish.before_rename")
                # Renaming onto a folder that holds anything fails, so a taken number is never replaced.
                staged.rename(target)
            except OSError as error:
                shutil.rmtree(staged, ignore_errors=True)
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    raise ArtifactExists(kind="folder", name="/".join(parts)) from error
                raise
            _sync(target.parent)

    def _stage(self, data: bytes, target: Path) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = target.with_name(f".tmp-{uuid.uuid4().hex}")
        with staged.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return staged


def _sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
