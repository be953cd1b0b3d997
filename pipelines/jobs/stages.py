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

from pipelines.config import Product, load_product
from pipelines.errors import MillraceError
from pipelines.jobs.exits import exit_code, tell
from pipelines.logs import add_context, configure_logging
from pipelines.runs import RunRecord, new_run_id, save_record
from pipelines.storage import Store

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
    """

    config: Path
    profile: str = "local"
    settings: list[str] = field(default_factory=list)
    date: str | None = None
    model_version: int | None = None
    table_version: int | None = None


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

    return stage.run(job.product, job.spark, job.store, job.run_id)


def _train(job: Job) -> RunRecord:
    from train import stage

    return stage.run(job.product, job.spark, job.store, job.run_id)


def _score(job: Job) -> RunRecord:
    from serve import score

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
    run_id = new_run_id()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    configure_logging()
    records: list[RunRecord] = []
    stage, product, spark = names[0], None, None
    try:
        add_context(run_id=run_id, stage="start")
        product = load_product(request.config, profile=request.profile, settings=request.settings)
        store = Store(product.config.store.root)
        spark = _start_spark(product)
        job = Job(request, product, store, spark, run_id)
        for stage in names:
            add_context(run_id=run_id, stage=stage)
            records.append(_run_one(stage, job))
    except (Exception, KeyboardInterrupt) as error:
        tell(error)
        name = product.config.product if product else ""
        reason, hint = str(error).strip() or type(error).__name__, getattr(error, "hint", "")
        failed = RunRecord(
            stage=stage,
            run_id=run_id,
            product=name,
            outcome="failed",
            reason=reason[:2000],
            hint=hint,
        )
        if product:
            _keep_failure(product, failed)
        return exit_code(error), [*records, failed]
    finally:
        if spark is not None:
            spark.stop()
    return 0, records


def _keep_failure(product: Product, failed: RunRecord) -> None:
    try:
        save_record(Store(product.config.store.root), failed)
    except MillraceError as error:
        tell(error)  # beside what ended the run, which decides the exit code


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
    started = time.monotonic()
    record = _RUN[stage](job)
    record = record.model_copy(update={"seconds": round(time.monotonic() - started, 2)})
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
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="override")
    if stage == "score":
        parser.add_argument("--date", help="logical date; by default the table version's commit date")
        parser.add_argument("--model-version", type=int, help="by default the newest")
        parser.add_argument("--table-version", type=int, help="by default the newest")
    code, records = run_stages((stage,), Request(**vars(parser.parse_args())))
    print_result(records[-1].model_dump(mode="json"))
    sys.exit(code)
