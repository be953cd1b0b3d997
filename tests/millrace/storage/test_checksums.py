"""Digests: read once, and again only when somebody wrote to the file."""

import hashlib
import os
from pathlib import Path

import pytest

from millrace.storage import checksums, digest_at, has_digest


def test_a_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 3_000_000)
    digest = hashlib.sha256(b"x" * 3_000_000).hexdigest()
    assert digest_at(str(path)) == digest
    assert has_digest(str(path), digest)
    monkeypatch.setattr(checksums, "digest_at", lambda *_: "another")
    assert has_digest(str(path), digest)
    os.utime(path, (1, 1))
    assert not has_digest(str(path), digest)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        has_digest(str(path), digest)
