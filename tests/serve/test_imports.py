"""Serving starts without Spark and Horovod, and without TensorFlow until a model is loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

MAKING = ("deltalake", "sqlglot")
"""What reads tables and product files thoroughly."""
SERVING = ("fastapi", "httptools", "orjson", "prometheus_client", "uvicorn", "uvloop")
"""The packages of the extra `serve`: machines that only run jobs do not have them."""
ROOT = Path(__file__).parents[2]


HEAVY = ("pyspark", "horovod", "tensorflow", "great_expectations", "train", "ingest")


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("serve.server.app", HEAVY),
        ("serve.server.server", (*HEAVY, *MAKING)),
        ("pipelines.commands.cli", (*HEAVY, *MAKING, *SERVING)),
        ("serve.scoring.score", (*HEAVY, "fastapi")),
    ],
)
def test_importing_leaves_out(module: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {module}; sys.exit(', '.join(set({absent!r}) & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (0, "")
