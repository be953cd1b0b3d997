"""Starts the ranks inside Spark tasks, receives their events, and reports a failure as one error."""

import contextlib
import dataclasses
import logging
import os
import re
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from millrace import failpoints
from millrace.config.sections.profile import Ranks
from millrace.errors import BASES, ConfigError, MillraceError, Terminated
from train.errors import RankLost, RankRaised
from train.events import Output, listen
from train.ranks.arguments import RankArguments
from train.ranks.worker import train_rank

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

logger = logging.getLogger(__name__)

_WATCHDOG = re.compile(r"Timeout \(\d+:\d\d:\d\d")


def run_ranks(
    spark: "SparkSession",
    args: RankArguments,
    ranks: Ranks,
    on_event: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Run `train.ranks.worker.train_rank` on every rank; returns the result of rank 0.

    Args:
        spark: Each rank runs in a task; all tasks must run at the same time.
        args: Sent to every rank.
        ranks: The section ``ranks`` of the profile: how many, and the start timeout.
        on_event: Called with every event of the ranks, except errors.

    Raises:
        RankLost: A rank hung or died; the run has ended.
        RankRaised: A rank raised an error that is none of the project's own, or the ranks have different weights.
        ConfigError: Spark has fewer slots than ranks, or a rank found an error in the configuration.
        DataRejected: A rank rejected the data.
        Unavailable: A rank could not use the storage.
        KeyboardInterrupt: SIGINT came.
        Terminated: SIGTERM came.
    """
    import horovod.spark

    slots = spark.sparkContext.defaultParallelism
    if slots < ranks.world_size:
        raise ConfigError(
            f"ranks.world_size: {ranks.world_size} ranks need as many Spark slots at the same time, there are {slots}",
            hint="lower ranks.world_size, or give Spark more cores",
        )
    errors: list[dict[str, Any]] = []

    def receive(event: dict[str, Any]) -> None:
        if event["event"] == "error":
            errors.append(event)
        else:
            on_event(event)

    output, error_output = Output(), Output()
    host = spark.sparkContext.getConf().get("spark.driver.host", "127.0.0.1")
    inherited = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", failpoints.ENVIRONMENT, failpoints.LOG)
    environment = {name: os.environ[name] for name in inherited if name in os.environ}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"}
    received: set[int] = set()
    try:
        with (
            listen(host, secrets.token_bytes(32), receive) as address,
            _silent_threads(),
            _watched_signals() as received,
        ):
            results = horovod.spark.run(
                train_rank,
                args=(dataclasses.replace(args, events=address),),
                num_proc=ranks.world_size,
                start_timeout=ranks.start_timeout_s,
                use_gloo=True,
                env=environment,
                stdout=output,
                stderr=error_output,
                verbose=0,
                executable=spark.sparkContext.pythonExec,  # the executors' Python may have come in an archive
            )
    except Exception as error:
        if signal.SIGINT in received:
            raise KeyboardInterrupt from error
        if signal.SIGTERM in received:
            raise Terminated from error
        raise find_cause(errors, output.lines + error_output.lines, error) from error
    if signal.SIGINT in received:  # in the last moment
        raise KeyboardInterrupt
    if signal.SIGTERM in received:
        raise Terminated
    return next(result for result in results if result is not None)


@contextlib.contextmanager
def _watched_signals() -> Iterator[set[int]]:
    """Yield a set that has, after the block, the signals that came; restore the handlers that Horovod replaces.

    Horovod's handlers of SIGTERM and SIGINT end the ranks, and it reports a failed rank, not the signal. Ctrl-C goes
    to the ranks as well, so that one of them may end first.
    """
    received: set[int] = set()
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    reader, writer = socket.socketpair()
    with reader, writer:
        reader.setblocking(False)
        writer.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield received
        finally:
            signal.set_wakeup_fd(before)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            with contextlib.suppress(BlockingIOError):
                received.update(reader.recv(4096))


@contextlib.contextmanager
def _silent_threads() -> Iterator[None]:
    """Log errors of threads at level debug: Horovod raises the same error in a thread and from `run`."""
    before = threading.excepthook
    threading.excepthook = lambda args: logger.debug("thread %s: %s", args.thread, args.exc_value)
    try:
        yield
    finally:
        threading.excepthook = before


def find_cause(errors: list[dict[str, Any]], lines: list[str], cause: Exception) -> MillraceError:
    """Find the error that ended the run, and log the output of the rank that caused it.

    Args:
        errors: Error events of the ranks, in the order of arrival.
        lines: The last lines of the output of all ranks.
        cause: The exception that Horovod raised.
    """
    primary = [error for error in errors if error["kind"] != "peer"]
    if primary:
        first = primary[0]
        if not first["is_ours"]:
            logger.error("rank %s:\n%s", first["rank"], first["traceback"])
        for base in BASES:
            if base.__name__ == first["kind"]:
                return base(first["message"], hint=first["hint"])
        return RankRaised(first["rank"], first["message"], hint=first["hint"])
    if lines:
        logger.error("the ranks' last output:\n%s", "\n".join(_relevant_lines(lines)))
    if any(_WATCHDOG.search(line) for line in lines):
        return RankLost(None, "no step was made before train.deadline_s; the stacks above show where")
    return RankLost(None, str(cause).splitlines()[0] if str(cause) else type(cause).__name__)


def _relevant_lines(lines: list[str]) -> list[str]:
    """The stacks that watchdogs wrote, if there are any; otherwise the last lines."""
    starts = [number for number, line in enumerate(lines) if _WATCHDOG.search(line)]
    if not starts:
        return lines[-60:]
    stacks: list[str] = []
    for start in starts:
        end = next((n for n in range(start + 1, len(lines)) if lines[n].startswith("Traceback")), len(lines))
        stacks += lines[start : min(end, start + 60)]
    return stacks
