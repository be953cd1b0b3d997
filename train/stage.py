"""The training stage: trains on a table version and publishes a model version."""

import logging
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from millrace.config import Config, Product
from millrace.digests import digest_of, digest_of_code
from millrace.dotted import digest_of_module
from millrace.errors import FeatureMismatch
from millrace.failpoints import fail_here
from millrace.features.spec import FeatureSpec
from millrace.models.manifest import Lineage, ModelVersion
from millrace.models.store import ModelStore
from millrace.progress import progress
from millrace.runs import RunRecord
from millrace.storage import Store
from millrace.tables.validation import check_validated
from millrace.tables.versions import CLEAN, TableVersion, find_table
from train.data.plan import SplitPlan
from train.errors import GateFailed, NotTrainable
from train.evaluation.frequent_values import frequent_values
from train.evaluation.gates import check_gates
from train.evaluation.previous import find_comparable, is_whole, newest_version
from train.export.replay import replay
from train.loop.schedule import Schedule
from train.preprocessing.guarantees import never_null
from train.preprocessing.layers import describe
from train.preprocessing.measure import measure
from train.preprocessing.spec import build_spec, check_columns
from train.preprocessing.statistics import warnings_of
from train.ranks.arguments import RankArguments
from train.ranks.launch import run_ranks
from train.records import STAGE, EpochLog, RunFolder, log_metrics, manifest_of, metrics_of, packages, record_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

logger = logging.getLogger(__name__)

SPLITS: Final = ("train", "validation", "test")
REPLAY_S: Final = 120.0
REPLAY_DEADLINES: Final = 3.0
"""The check of the exported model, which starts TensorFlow again, may take this many times `train.deadline_s`, and at
least `REPLAY_S`."""


def run(product: Product, spark: "SparkSession", store: Store, run_id: str) -> RunRecord:
    """Train on the newest clean table version and publish the model; does nothing if that model exists already.

    Args:
        product: The configuration.
        spark: Runs the ranks, and computes the statistics of the train split.
        store: Contains the table, and gets the model.
        run_id: Name of the folder of this run.

    Raises:
        ArtifactNotFound: There is no clean table yet.
        NotValidated: The table did not pass this product file's contract.
        NotTrainable: The table cannot be used to train this model.
        RankLost: A rank hung or died.
        RankRaised: A rank raised an error that another try will not mend.
        GateFailed: A metric is outside a bound of ``evaluate.gates``; the model is not published.
        ReplayMismatch: The exported model gives other outputs than the trained model; it is not published.
    """
    started = time.monotonic()
    config = product.config
    table = find_table(store, config.product, CLEAN)
    key = commit_key(config, table)
    models = ModelStore(store)
    newest = newest_version(models, config.product)
    if newest and newest.manifest.lineage.commit_key == key and is_whole(newest):
        logger.info("nothing to do: model version %d has this table version and configuration", newest.manifest.version)
        return record_of(run_id, config, table, newest.manifest, outcome="already_committed")
    run_folder = RunFolder(store, ("runs", config.product, run_id, STAGE))
    spec, result = _train(config, spark, table, newest, run_folder)
    lineage = Lineage(
        run_id=run_id,
        commit_key=key,
        table=table.name,
        table_version=table.version,
        table_sha256=table.digest,
        fitted_on={"split": "train", "rows": table.rows_of("train"), "rule": table.commit.get("split")},
        config_sha256=digest_of(config),
        code_sha256=digest_of_code(),
        seed=config.train.seed,
        packages=packages(),
        parent=newest.manifest.version if newest else None,
    )
    fail_here("train.before_publish")
    with store.local_copy(*run_folder.parts, "model") as exported:
        published = models.publish(exported, manifest_of(config, spec, result, lineage))
    fail_here("train.after_publish")
    store.remove(*run_folder.parts, "model")
    is_mine = published.manifest.lineage.run_id == run_id
    message = "published model %s version %d" if is_mine else "another run published first: model %s version %d"
    logger.info(message, config.product, published.manifest.version)
    outcome = "committed" if is_mine else "already_committed"
    record = record_of(run_id, config, table, published.manifest, outcome=outcome)
    return record.model_copy(update={"seconds": round(time.monotonic() - started, 2)})


def commit_key(config: Config, table: TableVersion) -> str:
    """A digest of settings, builder and table version; if a model with the same key exists, training is skipped."""
    return digest_of(
        config.product,
        STAGE,
        config.features,
        config.train,
        config.evaluate,
        config.contract,
        digest_of_module(config.train.model),
        table.name,
        table.version,
        table.digest,
    )


def _train(
    config: Config,
    spark: "SparkSession",
    table: TableVersion,
    newest: ModelVersion | None,
    run_folder: RunFolder,
) -> tuple[FeatureSpec, dict[str, Any]]:
    _check(config, table)
    fail_here("train.before_measure")
    run_folder.put_json("config.json", config.model_dump(mode="json", by_alias=True))
    key, classes = config.ingest.key_columns, config.train.task != "regression"
    statistics = measure(spark, table, config.features, key, classes=classes)
    spec = build_spec(config, table, statistics)
    describe(spec, statistics)  # a cross may have too many combinations
    for text in warnings_of(statistics, table.rows_of("train")):
        logger.warning(text)
    logger.info(
        "computed the statistics of the train split: %d rows, %d inputs", table.rows_of("train"), len(spec.inputs)
    )
    for split, count in statistics.label.missing.items():
        logger.warning("%s: %d of %d rows are left out, because they have no label", split, count, table.rows_of(split))
    args = RankArguments(
        train=config.train,
        spec=spec,
        statistics=statistics,
        files={split: table.files_of(split) for split in SPLITS},
        slices=frequent_values(spark, table, config.evaluate.slices),
        folder=run_folder.uri,
        previous=find_comparable(newest, spec, table, never_null(config.contract.expectations)),
        wait_s=config.store.wait_s,
    )
    fail_here("train.before_ranks")
    result = _fit(spark, args, config, run_folder)
    fail_here("train.before_gates")
    run_folder.put_json("report.json", result)
    if problem := result.pop("previous_problem"):
        logger.warning("no comparison with the version before: %s", problem)
    log_metrics(result, config.train.task)
    failures = check_gates(config.evaluate.gates, result["model"], result["previous"])
    if failures:
        raise GateFailed(failures, metrics_of(result))
    with run_folder.store.local_copy(*run_folder.parts) as folder:
        worst = replay(folder, spec, timeout_s=max(REPLAY_S, REPLAY_DEADLINES * config.train.deadline_s))
    logger.info("the exported model gives the same outputs in a new process (largest difference %.1e)", worst)
    rows = table.rows_of("train") - statistics.label.missing.get("train", 0)
    return spec, {"train_rows": rows, "empty_inputs": list(statistics.empty), **result}


def _check(config: Config, table: TableVersion) -> None:
    """Check, before Spark does any work, what would make the run fail later."""
    check_validated(table, digest_of(config.contract))
    check_columns(config, table)
    for split in ("train", "test"):
        if table.rows_of(split) < config.ranks.world_size:
            raise NotTrainable(
                f"the {split} split of table {table.name} version {table.version} has {table.rows_of(split)} rows, "
                f"fewer than the {config.ranks.world_size} ranks",
                hint="ingest more rows, or lower ranks.world_size",
            )
    for name in config.evaluate.slices:
        if name not in table.columns:
            raise FeatureMismatch(name, expected=f"a column of table {table.name}", found="no such column")


def _fit(spark: "SparkSession", args: RankArguments, config: Config, run_folder: RunFolder) -> dict[str, Any]:
    schedule = Schedule.of(config.train, SplitPlan(args.files["train"]).rows, args.statistics.label)
    logger.info("training: %s", schedule)
    if schedule.is_short:
        logger.warning(
            "%d steps in all are few to train a network; raise train.epochs, lower train.batch_size, or add rows",
            schedule.steps * schedule.epochs,
        )
    with (
        progress("training", schedule.steps * schedule.epochs) as advance,
        EpochLog(run_folder, schedule.steps, advance) as log,
    ):
        result = run_ranks(spark, args, config.ranks, log.receive)
    return {**result, "schedule": {**asdict(schedule), "epochs_run": len(log.epochs)}}
