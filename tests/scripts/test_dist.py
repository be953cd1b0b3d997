"""The archive for --py-files: its content, and that each build gives the same bytes."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def build(target: Path) -> bytes:
    command = [sys.executable, ROOT / "scripts" / "dist.py", target]
    subprocess.run(command, check=True)
    return target.read_bytes()


def test_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    first = build(tmp_path / "first.zip")
    os.utime(ROOT / "millrace" / "__init__.py")
    assert build(tmp_path / "second.zip") == first


def test_it_contains_the_five_packages_and_nothing_else(tmp_path: Path) -> None:
    build(tmp_path / "millrace.zip")
    names = zipfile.ZipFile(tmp_path / "millrace.zip").namelist()
    assert {name.split("/")[0] for name in names} == {"ingest", "millrace", "pipelines", "serve", "train"}
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_imports_from_the_archive_alone(tmp_path: Path) -> None:
    build(tmp_path / "millrace.zip")
    code = "import millrace.errors; print(millrace.errors.__file__)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": str(tmp_path / "millrace.zip")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "millrace.zip" in done.stdout
