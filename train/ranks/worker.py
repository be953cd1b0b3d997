"""The program of one rank: reads its rows, trains with the other ranks, evaluates; rank 0 exports the model.

Horovod starts it as a process of its own inside a Spark task. It imports no Spark.
"""

import faulthandler
import os
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from millrace.dotted import place_in_user_code
from millrace.errors import BASES, ConfigError, MillraceError
from millrace.failpoints import fail_here
from millrace.models.vocabularies import write_vocabularies
from millrace.retry import RetryPolicy
from millrace.storage import mapped_errors, upload
from train.data.plan import SplitPlan
from train.data.rows import Reader
from train.errors import RankRaised
from train.evaluation.held_out import SAMPLE_ROWS, evaluate_test_split
from train.events import EventSender
from train.export.saved_model import SAMPLE, join_model, write_sample, write_saved_model
from train.export.warmup import write_warmup
from train.loop.fit import fit
from train.models.builder import build_trunk
from train.preprocessing.layers import build_preprocessing, describe
from train.rank import Rank, watchdog
from train.ranks.arguments import RankArguments
from train.world import World


def train_rank(args: RankArguments) -> dict[str, Any] | None:
    """Run one rank; rank 0 returns metrics and times.

    An error is sent to the driver and then raised again, so that the process ends. Horovod reports only an exit code,
    and the other ranks would wait for this rank forever.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    rank = int(os.environ.get("HOROVOD_RANK", "0"))
    if args.events is None:
        raise ValueError("a rank needs the address of the driver's events")
    heartbeat = watchdog(args.train.deadline_s)  # before anything that may hang
    sender = EventSender(args.events)
    try:
        return _train_rank(args, sender, heartbeat)
    except (Exception, SystemExit) as error:  # a builder may call sys.exit
        is_ours = isinstance(error, MillraceError)
        sender.send("error", **error_event(error, rank), is_ours=is_ours, traceback=traceback.format_exc())
        raise
    finally:
        sender.close()
        faulthandler.cancel_dump_traceback_later()


def error_event(error: BaseException, rank: int) -> dict[str, Any]:
    """What the driver needs to raise the error again: kind, rank, message, hint.

    The kind is the name of a class of `millrace.errors`, which is ``ConfigError`` for an error in a user's function;
    ``RankRaised`` for other errors; ``peer`` for an error inside a Horovod operation, which happens when another rank
    dies and is never the cause.
    """
    if isinstance(error, RankRaised):
        return {"kind": "RankRaised", "rank": error.rank, "message": error.reason, "hint": error.hint}
    if isinstance(error, MillraceError):
        kind = next((c.__name__ for c in type(error).__mro__ if c in BASES), "RankRaised")
        return {"kind": kind, "rank": rank, "message": str(error), "hint": error.hint}
    message = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
    place = place_in_user_code(error)
    if not place and "Horovod" in f"{type(error).__name__} {error}":  # an operation, none of which a user's code calls
        return {"kind": "peer", "rank": rank, "message": message, "hint": ""}
    if place:
        where = {"message": f"{message} ({place})", "hint": "fix this function; the stack is above"}
        return {"kind": ConfigError.__name__, "rank": rank, **where}
    return {"kind": "RankRaised", "rank": rank, "message": message, "hint": "see the rank's output above"}


def _train_rank(args: RankArguments, sender: EventSender, heartbeat: Callable[[], None]) -> dict[str, Any] | None:
    retry = RetryPolicy(args.wait_s, on_wait=heartbeat)  # a rank that waits for the storage is not stuck
    if args.previous is not None:
        args = replace(args, previous=replace(args.previous, retry=retry))
    started = time.monotonic()
    import horovod.tensorflow as hvd
    import keras
    import tensorflow as tf

    # One thread per rank: ranks share the cores of a machine, and a fixed order of additions gives the same bits.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    hvd.init()
    heartbeat()
    world = World(hvd.rank(), hvd.size())
    keras.utils.set_random_seed(args.train.seed)

    preprocessing = build_preprocessing(args.spec, args.statistics)
    units = 1 if args.spec.label.task != "multiclass" else len(args.spec.label.classes)
    trunk = build_trunk(args.train, describe(args.spec, args.statistics), units)
    readers = {
        split: Reader(SplitPlan(files), args.spec, preprocessing, heartbeat, retry)
        for split, files in args.files.items()
    }
    fit_started = time.monotonic()
    early_stopping = fit(trunk, readers, Rank(world, heartbeat, sender), args.train, args.spec, args.statistics)
    fitted = time.monotonic()

    model = join_model(args.spec, preprocessing, trunk, args.statistics.label)
    metrics, sample = evaluate_test_split(
        model, readers["test"], world, args.statistics.label, args.slices, args.previous
    )
    fail_here("train.before_export", world.rank)
    if world.rank:
        return None
    with tempfile.TemporaryDirectory(prefix="millrace-export-") as folder:
        write_saved_model(Path(folder, "model"), model, preprocessing, trunk)
        write_vocabularies(Path(folder, "model"), args.statistics.vocabularies)
        write_warmup(Path(folder, "model"), args.spec, sample[0][0], sample[1][0])
        write_sample(Path(folder, SAMPLE), *sample, limit=SAMPLE_ROWS)
        heartbeat()
        with mapped_errors("folder", args.folder):
            upload(Path(folder), args.folder, retry)
        fail_here("train.after_export", world.rank)
    seconds = {
        "start": fit_started - started,
        "fit": fitted - fit_started,
        "judge_export": time.monotonic() - fitted,
    }
    return {
        **metrics,
        "best_epoch": early_stopping.best_epoch,
        "best_loss": early_stopping.best_loss,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
    }
