"""Runs stages: builds what they need, keeps their records, and reports how they ended."""

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from millrace.config import Product, load_product
from millrace.errors import MillraceError, Terminated
from millrace.failpoints import fail_here
from millrace.logs import add_context, configure_logging
from millrace.models.store import ModelStore
from millrace.runs import RunRecord, new_run_id, save_record
from millrace.storage import Store
from millrace.tables.versions import CLEAN, find_table
from pipelines.jobs.exits import exit_code, report_error
from pipelines.jobs.interrupts import Interrupts
from pipelines.jobs.remote import Submission, is_inside

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

logger = logging.getLogger(__name__)

STAGES: Final = ("ingest", "train", "score")


@dataclass(frozen=True)
class Request:
    """What a user asked for.

    Attributes:
        config: The product file.
        profile: Name or path of a profile.
        settings: ``key=value`` overrides.
        date: Logical date of scoring; by default the input version's commit date.
        model_version: Model to score with; the newest by default.
        table_version: Table version to score; the newest by default.
        run_id: Name of the run; made by default.
        full: Make an incremental table anew.
        allow_empty: Ingest a base source without rows.
    """

    config: Path
    profile: str = "local"
    settings: list[str] = field(default_factory=list)
    date: str | None = None
    model_version: int | None = None
    table_version: int | None = None
    full: bool = False
    allow_empty: bool = False
    run_id: str = ""

    def arguments_of(self, stage: str) -> list[str]:
        """What of it is asked of ``run_<stage>.py`` and of no other stage's."""
        if stage == "ingest":
            flags = {"--full": self.full, "--allow-empty": self.allow_empty}
            return [name for name, is_set in flags.items() if is_set]
        if stage == "score":
            given = {"--date": self.date, "--model-version": self.model_version, "--table-version": self.table_version}
            return [part for name, value in given.items() if value is not None for part in (name, str(value))]
        return []


@dataclass(frozen=True)
class Job:
    """One process's work on a product: its configuration, store, session and run."""

    request: Request
    product: Product
    store: Store
    spark: "SparkSession"
    run_id: str


def _ingest(job: Job) -> RunRecord:
    from ingest import stage

    asked = job.request
    return stage.run(job.product, job.spark, job.store, job.run_id, full=asked.full, allow_empty=asked.allow_empty)


def _train(job: Job) -> RunRecord:
    from train import stage

    return stage.run(job.product, job.spark, job.store, job.run_id)


def _score(job: Job) -> RunRecord:
    from serve.scoring import score

    return score.run(
        job.product,
        job.spark,
        job.store,
        job.run_id,
        model_version=job.request.model_version,
        table_version=job.request.table_version,
        logical_date=job.request.date,
    )


_RUN: Final[dict[str, Callable[[Job], RunRecord]]] = {
    "ingest": _ingest,
    "train": _train,
    "score": _score,
}


def run_stages(names: tuple[str, ...], request: Request) -> tuple[int, list[RunRecord]]:
    """Run stages one after another in one Spark session; the first that fails ends the run.

    Returns:
        The exit code, and a record of every stage that started.
    """
    run_id = request.run_id or new_run_id()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    configure_logging()
    records: list[RunRecord] = []
    stage, product, store, spark = names[0], None, None, None
    started = time.monotonic()
    with Interrupts() as interrupts:
        try:
            add_context(run_id=run_id, stage="start")
            product = load_product(request.config, profile=request.profile, settings=request.settings)
            store = Store(product.config.store.root)
            _check_inputs(names, product, store, allow_empty=request.allow_empty)
            # The storage is reachable. If it fails from now on, the run waits for it.
            store = Store(product.config.store.root, wait_s=product.config.store.wait_s)
            if product.config.spark.deploy_mode == "cluster" and not is_inside():
                return _run_in_cluster(names, request, product, run_id)
            spark = _start_spark(product)
            interrupts.arm()
            job = Job(request, product, store, spark, run_id)
            for stage in names:
                add_context(run_id=run_id, stage=stage)
                started = time.monotonic()
                records.append(_run_one(stage, job))
        except (Exception, KeyboardInterrupt) as error:
            cause = interrupts.cause or error
            report_error(cause)
            failed = _failure(stage, run_id, product, cause, time.monotonic() - started)
            if store:
                _keep_failure(store, failed)
            return exit_code(cause), [*records, failed]
        finally:
            _stop_spark(spark)
    return 0, records


def _run_in_cluster(
    names: tuple[str, ...], request: Request, product: Product, run_id: str
) -> tuple[int, list[RunRecord]]:
    submission = Submission(product, request.config, request.profile, request.settings)
    submission.check()
    records: list[RunRecord] = []
    for stage in names:
        add_context(run_id=run_id, stage=stage)
        records.append(submission.run(stage, run_id, request.arguments_of(stage)))
        if code := records[-1].code:
            sys.stderr.write(f"error: {records[-1].reason}\n" + f"  {records[-1].hint}\n" * bool(records[-1].hint))
            return code, records
    return 0, records


def _failure(stage: str, run_id: str, product: Product | None, error: BaseException, seconds: float) -> RunRecord:
    return RunRecord(
        stage=stage,
        run_id=run_id,
        product=product.config.product if product else "",
        outcome="interrupted" if isinstance(error, KeyboardInterrupt | Terminated) else "failed",
        seconds=round(seconds, 2),
        code=exit_code(error),
        reason=(str(error).strip() or type(error).__name__)[:2000],
        hint=getattr(error, "hint", ""),
        details=getattr(error, "details", {}),
    )


def _check_inputs(names: tuple[str, ...], product: Product, store: Store, *, allow_empty: bool = False) -> None:
    """Find in a moment what would otherwise be found when Spark is up.

    Raises:
        InputMissing: The file of a source that is used is not there, or there is no table to begin with.
    """
    store.exists()
    if names[0] == "ingest":
        ingest = product.config.ingest
        for name in ingest.used_sources:
            # Files of an incremental source may be moved away once they are taken.
            if name != ingest.base or not (allow_empty or product.config.sources[name].incremental):
                product.source_files(name)
    else:
        find_table(store, product.config.product, CLEAN)
    if names[0] == "score":
        ModelStore(store).open(product.config.product)


def _keep_failure(store: Store, failed: RunRecord) -> None:
    try:
        save_record(store, failed)
    except MillraceError as error:
        report_error(error)  # beside what ended the run, which decides the exit code


def _stop_spark(spark: "SparkSession | None") -> None:
    if spark is None:
        return
    try:
        spark.stop()
    except Exception as error:  # the run has ended, well or badly, and Spark may be gone already
        logger.debug("Spark did not stop in order", exc_info=error)


def _start_spark(product: Product) -> "SparkSession":
    from pipelines.jobs.session import build_session

    started = time.monotonic()
    spark = build_session(product.config.spark, app_name=f"millrace {product.config.product}")
    logger.info(
        "Spark %s is up on %s (%.1f s)",
        spark.version,
        spark.sparkContext.master,
        time.monotonic() - started,
    )
    return spark


def _run_one(stage: str, job: Job) -> RunRecord:
    from pipelines.jobs.session import failed_tasks

    started, failed_before = time.monotonic(), failed_tasks(job.spark)
    record = _RUN[stage](job)
    update: dict[str, object] = {"seconds": round(time.monotonic() - started, 2)}
    if failed := failed_tasks(job.spark) - failed_before:
        logger.warning("%d tasks failed and were repeated; the result is the same", failed)
        update["details"] = {**record.details, "failed_tasks": failed}
    record = record.model_copy(update=update)
    fail_here("run.before_record")
    save_record(job.store, record)
    state = "already done" if record.outcome == "already_committed" else "done"
    logger.info(
        "%s: version %s, %d rows in, %d out, %d rejected, %d filtered (%.1f s)",
        state, record.version, record.rows_in, record.rows_out, record.rejected, record.filtered, record.seconds,
    )  # fmt: skip
    return record


def print_result(result: dict[str, object]) -> None:
    """Write the one JSON line that machines read as the last on stdout."""
    sys.stdout.write(json.dumps(result, default=str) + "\n")
    sys.stdout.flush()


def main(stage: str) -> None:
    """Entry of ``spark-submit pipelines/jobs/run_<stage>.py``; ends the process with the stage's exit code."""
    import argparse

    parser = argparse.ArgumentParser(prog=f"run_{stage}.py", description=f"Run the {stage} stage of a product.")
    parser.add_argument("--config", type=Path, required=True, help="the product file")
    parser.add_argument("--profile", default="local", help="where it runs: a name in conf/profiles, or a path")
    parser.add_argument("--run-id", default="", help="name of the run; made by default")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="override")
    if stage == "ingest":
        parser.add_argument("--full", action="store_true", help="make an incremental table anew")
        parser.add_argument(
            "--allow-empty", action="store_true", help="commit a version without rows, if there are none"
        )
    if stage == "score":
        parser.add_argument("--date", help="logical date; by default the table version's commit date")
        parser.add_argument("--model-version", type=int, help="by default the newest")
        parser.add_argument("--table-version", type=int, help="by default the newest")
    code, records = run_stages((stage,), Request(**vars(parser.parse_args())))
    print_result(records[-1].model_dump(mode="json"))
    sys.exit(code)
