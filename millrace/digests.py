"""Digests that identify configurations, files and models."""

import hashlib
import json
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from pydantic import BaseModel


def sha256_of(path: Path) -> str:
    """Return the digest of a local file's bytes, as lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(*parts: object) -> str:
    """Return the digest of configuration sections and plain values, independent of the order of keys."""
    plain = [part.model_dump(mode="json", by_alias=True) if isinstance(part, BaseModel) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()


def digest_of_code(packages: tuple[str, ...] = ("millrace", "pipelines", "ingest", "train", "serve")) -> str:
    """Return the digest of the installed source code, which results record; a zip has the same digest."""
    digest = hashlib.sha256()
    for package in packages:
        for name, data in sorted(_sources(resources.files(package), package)):
            digest.update(name.encode() + b"\0" + data)
    return digest.hexdigest()


def _sources(folder: Traversable, name: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        path = f"{name}/{entry.name}"
        if entry.is_dir():
            yield from _sources(entry, path)
        elif path.endswith(".py"):
            yield path, entry.read_bytes()
