"""Runs the project's commands as a user does: in a new process and in another folder."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pat

from millrace.models.store import ModelStore
from millrace.storage import Store, open_input
from millrace.tables.versions import find_table

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
TIMEOUT_S = 600


@dataclass(frozen=True)
class Done:
    """The result of a command.

    Attributes:
        code: Exit code.
        out: Text on stdout.
        err: Text on stderr.
    """

    code: int
    out: str
    err: str

    @property
    def result(self) -> dict[str, Any]:
        """The JSON object on the last line of stdout."""
        parsed: dict[str, Any] = json.loads(self.out.strip().splitlines()[-1])
        return parsed


def run_command(folder: Path, *command: str, fail: str = "", path: str = str(ROOT), **env: str) -> Done:
    """Run a program of this environment in a folder.

    Args:
        folder: The working folder.
        command: Program and arguments.
        fail: Active failpoints (``MILLRACE_FAIL``).
        path: ``PYTHONPATH``.
        env: More environment variables.
    """
    environment = {**os.environ, "MILLRACE_FAIL": fail, "PYTHONPATH": path, **env}
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def rows_digest(store: Store, product: str, table: str, drop: tuple[str, ...] = ()) -> tuple[int, str]:
    """Return the row count of a table's newest version, and a digest that ignores the order of rows and files."""
    version = find_table(store, product, table)
    parts = []
    for file in version.files:
        with open_input(file.path) as source:
            parts.append(pq.read_table(source))
    rows = pa.concat_tables(parts).drop_columns([c for c in drop if c in parts[0].column_names])
    columns = {name: rows[name] for name in sorted(rows.column_names)}
    lists = {
        name: list(map(repr, column.to_pylist())) for name, column in columns.items() if pat.is_nested(column.type)
    }
    frame = pd.DataFrame({name: lists.get(name, column.to_pandas()) for name, column in columns.items()})
    hashes = np.sort(pd.util.hash_pandas_object(frame, index=False).to_numpy())
    return len(frame), hashlib.sha256("".join(columns).encode() + hashes.tobytes()).hexdigest()


def metrics_of(store: Store, product: str) -> dict[str, Any]:
    """Return the metrics of the newest model version, without the run times."""
    manifest = ModelStore(store).open(product).manifest
    return {name: value for name, value in manifest.metrics.items() if name != "seconds"}
