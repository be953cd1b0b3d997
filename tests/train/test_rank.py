"""The watchdog ends a process that is stuck."""

import subprocess
import sys


def test_the_watchdog_ends_a_process_that_makes_no_step_and_shows_where() -> None:
    code = "import threading\nfrom train.rank import watchdog\nwatchdog(0.2)\nthreading.Event().wait(60)\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "Timeout (0:00:00.200000)!" in done.stderr
    assert 'File "<string>", line 4' in done.stderr
