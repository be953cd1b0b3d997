"""``python -m tests.pipelines.schedule.scheduler FOLDER MINUTES``: a scheduler to be killed.

Its clock stands still, so many minutes after the watch began.
"""

import logging
import sys
from datetime import timedelta
from pathlib import Path

from millrace.errors import Terminated
from pipelines.schedule.embedded import Embedded
from pipelines.schedule.runner import Runner, RunnerContext
from tests.pipelines.schedule.small import START, Bench, Small


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    folder, now = Path(sys.argv[1]), START + timedelta(minutes=int(sys.argv[2]))
    bench = Bench(folder)
    runner = Runner("minutely", bench.entry, bench.log, RunnerContext(Small(bench.work), folder / "logs", lambda: now))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    try:
        Embedded([runner]).run()
    except Terminated:
        sys.exit(75)


if __name__ == "__main__":
    main()
