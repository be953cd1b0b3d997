"""What a rank computes by itself; `test_launch` and `test_stage` run whole ranks."""

import subprocess
import sys

import numpy as np
import pytest

from train.statistics import LabelStatistics
from train.worker import class_weights


def test_balanced_weights_give_every_class_the_same_total() -> None:
    label = LabelStatistics(rows=100, missing=0, counts=(("a", 80), ("b", 20)))
    weights = class_weights(label)
    assert weights == pytest.approx(np.array([0.625, 2.5]))
    assert (weights * [80, 20]).sum() == pytest.approx(100)


def test_the_watchdog_ends_a_process_that_makes_no_step_and_shows_where() -> None:
    code = "import threading\nfrom train.worker import watchdog\nwatchdog(0.2)\nthreading.Event().wait(60)\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "Timeout (0:00:00.200000)!" in done.stderr
    assert 'File "<string>", line 4' in done.stderr


def test_a_rank_imports_no_spark() -> None:
    code = "import sys, train.worker; sys.exit('pyspark' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
