"""Compare batch scoring of 3.27 million rows with a direct call of the SavedModel and Spark's predict_batch_udf."""

import inspect
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.figures import FLIGHTS, Figure
from millrace.config import Product, load_product
from millrace.features.encoding import encode
from millrace.models.manifest import ModelVersion
from millrace.models.store import ModelStore
from millrace.storage import Store
from millrace.tables.versions import CLEAN, TableVersion, find_table
from pipelines.jobs.session import build_session
from pipelines.jobs.stages import Request, run_stages
from serve.scoring import score
from serve.servables.saved_model import LoadedModel

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

COPIES = 10
BATCH_ROWS = 65_536


def measure(folder: Path) -> list[Figure]:
    """Score the same rows with the same model in three ways."""
    root = str(folder / "hash")
    settings = [f"store.root={root}", "train.epochs=1", "evaluate.gates={}"]
    if not Path(root).exists():
        code, records = run_stages(("ingest", "train"), Request(FLIGHTS, settings=settings))
        if code:
            raise SystemExit(records[-1].reason)
    product = load_product(FLIGHTS, settings=settings)
    store = Store(root)
    spark = build_session(product.config.spark, app_name="bench")
    try:
        repeat_rows(spark, store)
        table = find_table(store, "flights", CLEAN)
        model = ModelStore(store).open("flights")
        batch = score_by_millrace(spark, product, store)
        udf = score_by_udf(spark, table, model, folder)
    finally:
        spark.stop()
    direct = score_directly(table, model)
    return [
        Figure(
            f"batch scoring of {table.rows_of():,} rows: against the direct call",
            f"{batch:,.0f} rows/s",
            f"{direct:,.0f} rows/s in memory: {batch / direct:.2f}",
            ">= 0.50",
            batch / direct >= 0.5,  # noqa: PLR2004
        ),
        Figure(
            "batch scoring: against predict_batch_udf",
            f"{batch:,.0f} rows/s",
            f"{udf:,.0f} rows/s: {batch / udf:.2f}x",
            ">= 2.00x",
            batch / udf >= 2,  # noqa: PLR2004
        ),
    ]


def repeat_rows(spark: "SparkSession", store: Store) -> None:
    """Create a new version of the clean table with several copies of each row."""
    path = store.uri("tables", "flights", CLEAN)
    frame = spark.read.format("delta").option("versionAsOf", 0).load(path)
    many = frame.crossJoin(spark.range(COPIES).withColumnRenamed("id", "copy")).drop("copy")
    commit = json.dumps(find_table(store, "flights", CLEAN, 0).commit)  # with the contract that these rows passed
    writer = many.repartition(12).write.format("delta").mode("overwrite").partitionBy("split")
    writer.option("userMetadata", commit).save(path)


def score_by_millrace(spark: "SparkSession", product: Product, store: Store) -> float:
    """Measure rows per second of the stage, with reading and appending Delta; the workers have the model loaded."""
    score.run(product, spark, store, "warm-up", logical_date="2000-01-01")
    started = time.monotonic()
    record = score.run(product, spark, store, "timed", logical_date="2000-01-02")
    return record.rows_out / (time.monotonic() - started)


def score_by_udf(spark: "SparkSession", table: TableVersion, model: ModelVersion, folder: Path) -> float:
    """Measure rows per second with Spark's own function for calling a model on batches."""
    from pyspark.ml.functions import predict_batch_udf
    from pyspark.sql import functions as F
    from pyspark.sql.types import FloatType

    spec = model.manifest.features
    model_folder = str(model.folder)
    dtypes = [f.tensor_dtype for f in spec.inputs]
    names = [f.name for f in spec.inputs]

    def load() -> Any:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        loaded = tf.saved_model.load(model_folder)
        signature = loaded.signatures["serving_default"]

        def predict(*columns: np.ndarray) -> np.ndarray:
            _ = loaded
            inputs = {n: tf.constant(c, d) for n, c, d in zip(names, columns, dtypes, strict=True)}
            probabilities: np.ndarray = signature(**inputs)["probability"].numpy()
            return probabilities

        # Spark counts the parameters of this function.
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        predict.__signature__ = inspect.Signature([inspect.Parameter(n, kind) for n in names])  # type: ignore[attr-defined]
        return predict

    udf = predict_batch_udf(load, return_type=FloatType(), batch_size=BATCH_ROWS)
    columns = [_filled(F.col(f.name), f.tensor_dtype, f.dtype) for f in spec.inputs]

    def run(name: str, frame: "DataFrame") -> None:
        frame.select(*spec.key, udf(*columns).alias("probability")).write.format("delta").save(str(folder / name))

    frame = spark.read.format("delta").load(table.uri)
    run("udf-warm-up", frame.limit(BATCH_ROWS))
    started = time.monotonic()
    run("udf-timed", frame)
    return table.rows_of() / (time.monotonic() - started)


def _filled(column: Any, tensor_dtype: str, dtype: str) -> Any:
    from pyspark.sql import functions as F

    if dtype == "timestamp":
        column = F.unix_micros(column)
    if tensor_dtype in ("float32", "float64"):
        return F.coalesce(column.cast("double"), F.lit(float("nan")))
    if tensor_dtype == "string":
        return F.coalesce(column, F.lit(""))
    return F.coalesce(column.cast("bigint"), F.lit(-(2**63)).cast("bigint"))


def score_directly(table: TableVersion, model: ModelVersion) -> float:
    """Measure rows per second of the SavedModel on encoded rows in memory, with all cores: the upper limit."""
    spec = model.manifest.features
    names = [f.name for f in spec.inputs]
    rows = pa.concat_tables(
        [pq.read_table(f.path, columns=names, partitioning=None) for f in table.files_of("train")[:2]]
    )
    servable = LoadedModel.load(model, threads=os.cpu_count())
    batches = [
        {f.name: encode(rows[f.name].slice(start, BATCH_ROWS), f) for f in spec.inputs}
        for start in range(0, rows.num_rows, BATCH_ROWS)
    ]
    servable.infer_encoded(batches[0])
    started = time.monotonic()
    for batch in batches:
        servable.infer_encoded(batch)
    return rows.num_rows / (time.monotonic() - started)
