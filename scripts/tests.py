"""Run the two halves of the tests in parallel: end-to-end tests, and all others.

Starting Spark, TensorFlow or a server leaves half of two cores idle. The output of the second half is printed after
the first half has ended.
"""

import contextlib
import signal
import subprocess
import sys
import tempfile
from types import FrameType

HALVES = (("-m", "e2e", "-o", "cache_dir=.pytest_cache/e2e"), ("-m", "not e2e"))


def main() -> int:
    """Run both halves; return the exit code of the first one that failed, or 0."""
    running: list[subprocess.Popen[bytes]] = []

    def stop(number: int, _: FrameType | None) -> None:
        for half in running:
            half.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    with contextlib.ExitStack() as stack:
        outputs = [stack.enter_context(tempfile.TemporaryFile()) for _ in HALVES[1:]]
        for half, output in zip(HALVES, (None, *outputs), strict=True):
            command = [sys.executable, "-m", "pytest", *half, *sys.argv[1:]]
            running.append(subprocess.Popen(command, stdout=output, stderr=output))
        codes = [running[0].wait()]
        for half, output in zip(running[1:], outputs, strict=True):
            codes.append(half.wait())
            output.seek(0)
            sys.stdout.buffer.write(output.read())
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(main())
