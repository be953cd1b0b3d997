"""A stage in small, run as a script: it takes its time, commits once for a key, and ends as it is told.

``FOLDER/codes`` holds exit codes for the calls to come, ``hang`` makes it and a child in another session ignore
SIGTERM, ``seconds`` says how long it works.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def main() -> int:
    folder, stage, key, *inputs = Path(sys.argv[1]), *sys.argv[2:]
    with (folder / "lock").open("a") as lock, (folder / "calls").open("a") as calls:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            (folder / "overlap").touch()
        calls.write(f"{stage} {key} {' '.join(inputs)}".strip() + "\n")
        calls.flush()
        if (folder / "hang").exists():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            subprocess.Popen(["sleep", "600"], start_new_session=True)
            time.sleep(600)
        time.sleep(float((folder / "seconds").read_text()) if (folder / "seconds").exists() else 0)
        codes = (folder / "codes").read_text().split() if (folder / "codes").exists() else []
        code, left = (int(codes[0]), codes[1:]) if codes else (0, [])
        (folder / "codes").write_text(" ".join(left))
        if code:
            say(outcome="failed", reason=f"ends with {code}")
            return code
        return commit(folder, f"{stage} {key}")


def commit(folder: Path, key: str) -> int:
    """Add a line to the table in one step, unless its key is there; the tick's process may be killed at any point."""
    (folder / "table").mkdir(exist_ok=True)
    staged = folder / f"staged-{os.getpid()}"
    staged.write_text(key)
    try:
        os.link(staged, folder / "table" / key)
        outcome = "committed"
    except FileExistsError:
        outcome = "already_committed"
    version = len(list((folder / "table").iterdir()))
    say(outcome=outcome, run_id=f"run-{os.getpid()}", version=version)
    return 0


def say(**result: object) -> None:
    """The last line on stdout."""
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    sys.exit(main())
