"""Batch scoring: the server's servable in Spark's Python workers, over a pinned table version."""

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC
from typing import TYPE_CHECKING, Any

from millrace.config.load import Product
from millrace.config.sections.product import Config
from millrace.digests import digest_of
from millrace.errors import DataRejected, InputMissing, StorageError, Unavailable
from millrace.failpoints import fail_here
from millrace.models.files import checked_copy
from millrace.models.manifest import ModelDamaged, ModelVersion
from millrace.models.store import ModelStore
from millrace.runs import RunRecord
from millrace.storage import Store
from millrace.tables.validation import check_validated
from millrace.tables.versions import CLEAN, find_table
from serve.errors import TooManyUnseen
from serve.scoring.batches import LASTING, Job, Written
from serve.scoring.dispatch import run_on_spark, spark_cores
from serve.scoring.plan import plan_job
from serve.scoring.predictions import Predictions, check_features, parse_date

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

logger = logging.getLogger(__name__)


def run(  # noqa: PLR0913 - a stage's entry: what, where, and which versions
    product: Product,
    spark: "SparkSession",
    store: Store,
    run_id: str,
    *,
    model_version: int | None = None,
    table_version: int | None = None,
    logical_date: str | None = None,
) -> RunRecord:
    """Score a version of the clean table with a model version, into the predictions table.

    A row whose prediction is not finite, or that lacks a value which the model needs, stays in the table with null
    outputs and the reason in ``error``; it counts as rejected.

    Args:
        product: Names the table and the model.
        spark: Distributes the work.
        store: Holds both.
        run_id: Recorded in the commit.
        model_version: By default the newest that is not damaged.
        table_version: By default the newest.
        logical_date: What day the predictions are for, ISO 8601; by default when the table version was committed, in
            UTC. With it, the model, the table version and the section `score` a second run adds nothing.

    Raises:
        ArtifactNotFound: No such table or model.
        InputMissing: There are no rows to score.
        NotValidated: The table did not pass a contract.
        ModelDamaged: The model's files are not those published.
        FeatureMismatch: The table does not have what the model reads; nothing was computed.
        TooManyUnseen: A category has more values out of the vocabulary than the product allows; nothing was added.
        DataRejected: A file of the table is damaged, or not one row has a prediction; nothing was added.
        Unavailable: Spark or the storage failed; nothing was added.
    """
    started = time.monotonic()
    config = product.config
    table = find_table(store, config.product, CLEAN, table_version)
    predictions = Predictions(store, config.product)
    day = parse_date(logical_date) if logical_date else table.committed.astimezone(UTC).date().isoformat()

    def key_of(model: ModelVersion) -> str:
        return digest_of(config.product, "score", day, model.manifest.digest, table.version, _meaning(config))

    def is_done(model: ModelVersion) -> bool:
        return predictions.find_commit(key_of(model)) is not None

    model = open_model(ModelStore(store), config.product, model_version, is_done)
    record: dict[str, Any] = {
        "commit_key": key_of(model),
        "logical_date": day,
        "model_version": model.manifest.version,
        "model_digest": model.manifest.digest,
        "table_version": table.version,
        "run_id": run_id,
        "rows_in": table.rows_of(config.score.split),
    }
    if not predictions.find_commit(record["commit_key"]):
        check_validated(table)
        check_features(model.manifest, table)
        files = table.files_of(config.score.split)
        if not record["rows_in"]:
            raise InputMissing(f"{table.name} version {table.version} has no rows to score")
        checked_copy(model)
        fail_here("score.before_tasks")
        _score(
            spark,
            plan_job(model, table, files, predictions, record, spark_cores(spark)),
            predictions,
            record,
            config.score.max_unseen,
        )
    return _report(product, predictions, record, time.monotonic() - started)


def open_model(
    models: ModelStore, name: str, version: int | None, is_done: Callable[[ModelVersion], bool]
) -> ModelVersion:
    """Open a version; by default the newest whose files are those published, as the server does.

    A damaged version that has scored these rows already (`is_done`) is taken too: its files are not needed, and the
    one before would add the rows once more.

    Raises:
        ArtifactNotFound: No such model or version.
        ModelDamaged: The version, or every version, is damaged.
    """
    versions = models.versions(name)
    for candidate in [] if version else reversed(versions[1:]):
        model = None
        try:
            model = models.open(name, candidate)
            checked_copy(model)
        except ModelDamaged as error:
            if model and is_done(model):
                return model
            logger.warning("version %d is damaged, trying the one before: %s", candidate, error)
            continue
        return model
    return models.open(name, version or (versions[0] if versions else None))


def _meaning(config: Config) -> dict[str, Any]:
    """The settings of the section `score` that affect the predictions; not those that only check them."""
    return config.score.model_dump(mode="json", by_alias=True, exclude={"max_unseen"})


def _score(
    spark: "SparkSession", job: Job, predictions: Predictions, record: dict[str, Any], max_unseen: float
) -> None:
    try:
        written = run_on_spark(spark, job)
    except BaseException:
        _remove_rest(job, predictions, [])
        raise
    _remove_rest(job, predictions, written)
    failed = next((w for w in written if w.failure), None)
    if failed:
        _discard(written, predictions)
        raise next(c for c in LASTING if c.__name__ == failed.kind)(failed.failure, hint="nothing was added")
    rows, rejected = sum(w.rows for w in written), sum(w.rejected for w in written)
    if rows != record["rows_in"]:
        _discard(written, predictions)
        raise DataRejected(f"the table's log says {record['rows_in']} rows, its files hold {rows}")
    if rejected == rows:
        _discard(written, predictions)
        raise DataRejected(f"not one of {rows} rows has a prediction", hint="check the model and the newest rows")
    unseen = _sum_unseen(written)
    record |= {"rows_out": rows - rejected, "rejected": rejected, "unseen": unseen}
    if unseen and max(unseen.values()) > max_unseen * rows:
        _discard(written, predictions)
        raise TooManyUnseen(unseen, rows=rows, allowed=max_unseen)
    fail_here("score.before_commit")
    try:
        predictions.append(written, job.schema, record)
    except Unavailable:
        # The commit may have happened, here or in another process with the same key: the log decides.
        found = predictions.find_commit(record["commit_key"])
        if not found:
            raise
        logger.warning("another run committed these predictions first")
    fail_here("score.after_commit")
    found = predictions.find_commit(record["commit_key"])
    if found and found[1].get("run_id") != record["run_id"]:
        _discard(written, predictions)


def _sum_unseen(written: list[Written]) -> dict[str, int]:
    """Rows out of the vocabulary, by category; only categories that have any."""
    if any(task.unseen is None for task in written):
        logger.warning("the model was published without its vocabularies: unseen categories are not counted")
        return {}
    total: Counter[str] = Counter()
    for task in written:
        total.update(task.unseen or {})
    return {name: count for name, count in total.most_common() if count}


def _report(product: Product, predictions: Predictions, record: dict[str, Any], seconds: float) -> RunRecord:
    found = predictions.find_commit(record["commit_key"])
    if found is None:
        raise StorageError("the predictions were committed, but the log does not hold them")
    version, recorded = found
    if version is None:  # a table that an older release made may have lost old entries
        logger.warning("these predictions were committed, but the log no longer has their numbers")
        kept = {name: value for name, value in record.items() if name not in ("run_id", "rows_in")}
        return RunRecord(
            stage="score",
            run_id=record["run_id"],
            product=product.config.product,
            outcome="already_committed",
            seconds=round(seconds, 3),
            details=kept,
        )
    rows, rejected = predictions.count_added(version)
    mine = recorded.get("run_id") == record["run_id"]
    logger.info("%d rows with a prediction, %d without, as version %d", rows - rejected, rejected, version)
    return RunRecord(
        stage="score",
        run_id=record["run_id"],
        product=product.config.product,
        outcome="committed" if mine else "already_committed",
        version=version,
        rows_in=record["rows_in"],
        rows_out=rows - rejected,
        rejected=rejected,
        seconds=round(seconds, 3),
        details={
            **{k: v for k, v in record.items() if k not in ("run_id", "rows_in", "rows_out", "rejected")},
            "unseen": recorded.get("unseen", {}),
        },
    ).check_accounts()


def _remove_rest(job: Job, predictions: Predictions, written: list[Written]) -> None:
    """Remove files of tasks that were killed, or all files if Spark gave up."""
    with contextlib.suppress(OSError, StorageError):  # nobody reads them: they only take space
        predictions.remove_rest(job.folder, job.run, {file.path for file in written})


def _discard(written: list[Written], predictions: Predictions) -> None:
    for file in written:
        if file.path:
            predictions.files.remove(file.path)
