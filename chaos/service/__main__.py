"""``make chaos-serve``: what clients and the machine do to the service; ends in a table of got / goal."""

import sys
import tempfile
import time
import traceback
from pathlib import Path

from chaos.goals import Goal, show
from chaos.place import say
from chaos.service.faults import parts
from chaos.service.place import fill
from millrace.logs import configure_logging


def main() -> None:
    """Run the parts that are named, or all; exit 1 if a goal was missed."""
    configure_logging()
    started = time.monotonic()
    goals: list[Goal] = []
    with tempfile.TemporaryDirectory(prefix="millrace-hostile-") as folder:
        root = Path(folder, "store")
        fill(root)
        known = parts(root, Path(folder))
        if unknown := set(sys.argv[1:]) - known.keys():
            sys.exit(f"there is no part {', '.join(sorted(unknown))}: {', '.join(known)}")
        for name in sys.argv[1:] or known:
            try:
                for goal in known[name]():
                    say(f"{'held' if goal.held else 'MISSED'}: {goal.fault}: {goal.got} / {goal.goal} {goal.why}")
                    goals.append(goal)
            except Exception:
                goals.append(Goal(f"part {name} to its end", "", 0, 1, traceback.format_exc()))
    show(goals, time.monotonic() - started)
    sys.exit(any(not goal.held for goal in goals))


if __name__ == "__main__":
    main()
