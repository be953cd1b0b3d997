"""Loads an exported model in a new process and compares its outputs with those of the trained model.

The new process is ``python -m train.export.replay FOLDER``; it prints one JSON object.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from millrace.features.encoding import encode
from millrace.features.spec import FeatureSpec
from train.errors import ReplayMismatch
from train.export.saved_model import SAMPLE

ROWS: Final = 256
TIES: Final = 0.01
"""Share of the rows that may have another class."""
TOLERANCE: Final = 1e-5
SPEC: Final = "features.json"


def replay(folder: Path, spec: FeatureSpec, *, timeout_s: float) -> float:
    """Run the exported model on test rows in a new process; returns the largest relative difference.

    Args:
        folder: Contains ``model/`` and the sample, both from rank 0.
        spec: Inputs of the model; written to the folder for the new process.
        timeout_s: Time limit of the new process.

    Raises:
        ReplayMismatch: The model does not load, exceeds the time limit, or gives other outputs.
    """
    (folder / SPEC).write_text(spec.model_dump_json(by_alias=True))
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-m", "train.export.replay", str(folder)]
    try:
        process = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ReplayMismatch(f"no answer within {timeout_s:.0f} s", hint="raise train.deadline_s") from None
    if process.returncode:
        raise ReplayMismatch(
            process.stderr.strip().splitlines()[-1] if process.stderr.strip() else f"exit {process.returncode}"
        )
    report = json.loads(process.stdout.strip().splitlines()[-1])
    if report["problem"]:
        raise ReplayMismatch(report["problem"])
    return float(report["difference"])


def compare(folder: Path) -> dict[str, Any]:
    """Run the SavedModel on the first rows of the sample and compare its outputs with those in the sample."""
    import tensorflow as tf

    from train.data.tensors import to_tensor

    spec = FeatureSpec.model_validate_json((folder / SPEC).read_text())
    table = pq.read_table(folder / SAMPLE).slice(0, ROWS)
    loaded = tf.saved_model.load(str(folder / "model"))
    inputs = {f.name: to_tensor(encode(table.column(f.name), f)) for f in spec.inputs}
    outputs = loaded.signatures["serving_default"](**inputs)
    worst = 0.0
    for name, value in outputs.items():
        expected = _to_numpy(table.column(f"output.{name}"))
        found = value.numpy()
        if found.dtype == object:
            found = np.array([item.decode() for item in found], object)
        if found.shape != expected.shape:
            return {
                "difference": None,
                "problem": f"output '{name}' has shape {found.shape}, not {expected.shape}",
            }
        if found.dtype.kind != "f":
            # Rounding may decide between classes that are equally probable.
            different = int((found != expected).sum())
            if different > len(found) * TIES:
                return {"difference": None, "problem": f"output '{name}' differs in {different} of {len(found)} rows"}
            continue
        if not np.isfinite(found).all():
            return {"difference": None, "problem": f"output '{name}' is not finite"}
        # Probabilities are compared as they are, values relative to their size in the sample.
        scale = np.sqrt((expected.astype(float) ** 2).mean()) if name == "prediction" else 1.0
        scale = np.maximum(scale, np.abs(expected)) if scale else 1.0
        worst = max(worst, float((np.abs(found - expected) / scale).max(initial=0)))
    problem = f"outputs differ by {worst:.2e}, more than {TOLERANCE:.0e}" if worst > TOLERANCE else ""
    return {"difference": worst, "problem": problem, "rows": table.num_rows}


def _to_numpy(column: pa.ChunkedArray) -> Any:
    if pa.types.is_list(column.type):
        return np.array(column.to_pylist(), dtype=np.float32)
    return column.to_numpy()


def main() -> None:
    """Entry point of the new process."""
    sys.stdout.write(json.dumps(compare(Path(sys.argv[1]))) + "\n")


if __name__ == "__main__":
    main()
