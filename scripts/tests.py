"""Check style, types and imports, and run the tests in two halves, all at the same time.

One half are the tests that share Spark's session, HDFS and TensorFlow, so that these start once. Its output is printed
after the other half has ended. A check that fails ends the tests.
"""

import signal
import subprocess
import sys
import tempfile
from types import FrameType

HALVES = {"others": ("-m", "not shared"), "shared": ("-m", "shared", "-o", "cache_dir=.pytest_cache/shared")}
CHECKS = ("make", "--no-print-directory", "lint", "types", "imports")


def main() -> int:
    """Run the checks and both halves, then report the coverage.

    Returns:
        The exit code of the check or half that failed, or that of the coverage report: 2 below the floor in setup.cfg.
        With arguments, such as the names of some tests, nothing is checked, and coverage is not reported.
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
        if not sys.argv[1:]:
            checks = subprocess.run(CHECKS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            sys.stdout.buffer.write(b"\n" + checks.stdout)
            sys.stdout.flush()
            if checks.returncode:
                stop(signal.SIGINT, None)
                for process in running:
                    process.wait()
                return checks.returncode
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
