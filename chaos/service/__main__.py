"""Run the fault tests of the service (``make chaos-serve``) and print a table of results and goals."""

import sys
import tempfile
import time
import traceback
from pathlib import Path

from chaos.goals import Goal, show
from chaos.service.faults import parts
from chaos.service.servers import fill_store
from chaos.workspace import report
from millrace.logs import configure_logging


def main() -> None:
    """Run the named parts, or all of them; exit with 1 if a goal was missed."""
    configure_logging()
    started = time.monotonic()
    goals: list[Goal] = []
    with tempfile.TemporaryDirectory(prefix="millrace-hostile-") as folder:
        root = Path(folder, "store")
        fill_store(root)
        known = parts(root, Path(folder))
        if unknown := set(sys.argv[1:]) - known.keys():
            sys.exit(f"unknown part {', '.join(sorted(unknown))}; the parts are {', '.join(known)}")
        for name in sys.argv[1:] or known:
            try:
                for goal in known[name]():
                    report(goal.summary)
                    goals.append(goal)
            except Exception:
                goals.append(Goal(f"part {name}: finished without an exception", "", 0, 1, traceback.format_exc()))
    show(goals, time.monotonic() - started)
    sys.exit(any(not goal.is_reached for goal in goals))


if __name__ == "__main__":
    main()
