"""Runs an entry file as spark-submit lays it out: the file alone, and the packages in the archive."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def run_entry(stage: str, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Copy the entry away from its package, then run it in a folder that holds no package."""
    archive = folder / "dist" / "millrace.zip"
    subprocess.run([sys.executable, ROOT / "scripts" / "dist.py", archive], check=True)
    entry = shutil.copy(ROOT / "pipelines" / "jobs" / f"run_{stage}.py", folder / "dist")
    return subprocess.run(
        [sys.executable, entry, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(archive)},
        capture_output=True,
        text=True,
        check=False,
    )
