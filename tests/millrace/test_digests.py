"""Digests depend on what is meant, not on how it is laid out."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from millrace.config.sections.train import Gate
from millrace.digests import digest_of, digest_of_code, sha256_of

ROOT = Path(__file__).parents[2]


def test_sha256_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc" * 100_000)
    assert sha256_of(path) == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_the_order_of_keys_does_not_count() -> None:
    assert digest_of({"a": 1, "b": [1, 2]}) == digest_of({"b": [1, 2], "a": 1})


@pytest.mark.parametrize(("one", "other"), [((1,), ("1",)), (([1, 2],), ([2, 1],)), (("ab", "c"), ("a", "bc"))])
def test_values_count(one: tuple[object, ...], other: tuple[object, ...]) -> None:
    assert digest_of(*one) != digest_of(*other)


def test_sections_count_by_their_values() -> None:
    assert digest_of(Gate(min=0.5)) == digest_of(Gate(min=0.5, max=None))
    assert digest_of(Gate(min=0.5)) != digest_of(Gate(min=0.6))


def test_code_from_the_archive_has_the_same_digest(tmp_path: Path) -> None:
    archive = tmp_path / "millrace.zip"
    subprocess.run([sys.executable, ROOT / "scripts" / "dist.py", archive], check=True)
    code = "from millrace.digests import digest_of_code; print(digest_of_code())"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(archive)!r}); {code}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest_of_code()


def test_code_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "some_package_of_a_test"
    package.mkdir()
    (package / "__init__.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = digest_of_code((package.name,))
    (package / "notes.txt").write_text("not code")
    assert digest_of_code((package.name,)) == before
    (package / "inner").mkdir()
    (package / "inner" / "module.py").write_text("y = 2\n")
    assert digest_of_code((package.name,)) != before
