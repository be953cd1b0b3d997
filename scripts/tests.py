"""Run the two halves of the tests in parallel: end-to-end tests, and all others.

Starting Spark, TensorFlow or a server leaves half of two cores idle. The output of the second half is printed after
the first half has ended.
"""

import signal
import subprocess
import sys
import tempfile
from types import FrameType

HALVES = {"e2e": ("-m", "e2e", "-o", "cache_dir=.pytest_cache/e2e"), "others": ("-m", "not e2e")}


def main() -> int:
    """Run both halves, then report the coverage.

    Returns:
        The exit code of the half that failed, or that of the coverage report: 2 below the floor in setup.cfg.
        With arguments, such as the names of some tests, coverage is not reported.
    """
    running: list[subprocess.Popen[bytes]] = []

    def stop(number: int, _: FrameType | None) -> None:
        for process in running:
            process.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    coverage = [sys.executable, "-m", "coverage"]
    with tempfile.TemporaryFile() as later:
        for name, options in HALVES.items():
            tests = ["run", f"--data-file=.coverage.{name}", "-m", "pytest", "--durations=20", *options, *sys.argv[1:]]
            output = None if not running else later
            running.append(subprocess.Popen([*coverage, *tests], stdout=output, stderr=output))
        codes = [process.wait() for process in running]
        later.seek(0)
        sys.stdout.buffer.write(later.read())
        sys.stdout.flush()
    failed = next((code for code in codes if code), 0)
    if failed or sys.argv[1:]:
        return failed
    subprocess.run([*coverage, "combine", "--quiet"], check=True)
    return subprocess.run([*coverage, "report"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
