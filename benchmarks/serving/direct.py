"""Measure a direct call of TensorFlow in this process; print latency and memory as JSON."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.models import INPUTS, row


def main(folder: Path) -> None:
    """Load the tabular model and call it with one row for three seconds."""
    import psutil
    import tensorflow as tf

    function = tf.saved_model.load(str(folder)).signatures["serving_default"]
    values = row()

    def call() -> Any:
        inputs = {f.name: tf.constant([values[f.name]], f.tensor_dtype) for f in INPUTS}
        return {name: tensor.numpy() for name, tensor in function(**inputs).items()}

    for _ in range(200):
        call()
    seconds, end = [], time.monotonic() + 3
    while time.monotonic() < end:
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    p50, p99 = np.percentile(seconds, (50, 99)) * 1000
    print(json.dumps({"p50_ms": p50, "p99_ms": p99, "pss_mb": psutil.Process().memory_full_info().pss / 2**20}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
