"""The programs that ingest is compared with.

- Plain Spark, without contract, rejects, order and Delta, is the floor.
- The stage with Spark's casts shows what the grammar of the values costs.
- The hand-written job has what a team adds to it for production: malformed records are kept apart, the key is checked,
  Great Expectations runs on the frame, and the rows are sorted and written to a Delta table.
"""

from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from pyspark.sql import functions as F

from ingest import stage
from ingest.readers import raw
from ingest.table.arrange import partitions_for
from millrace.config import Config, Product
from millrace.config.sections.columns import Column as Declared
from millrace.config.sections.ingest import Join
from millrace.storage import Store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyspark.sql import Column, DataFrame, SparkSession


def run_plain(spark: "SparkSession", product: Product, target: str) -> None:
    """Do the same work as ingest with plain Spark."""
    frames = {name: _read(spark, product, name) for name in product.config.ingest.used_sources}
    _apply_steps(frames, product).write.partitionBy("split").parquet(target)


def run_handwritten(spark: "SparkSession", product: Product, target: str) -> None:
    """Do the same work as ingest as a job that a team writes by hand for production."""
    config = product.config
    frames = {name: _read(spark, product, name, corrupt="_corrupt").cache() for name in config.ingest.used_sources}
    for name, frame in frames.items():
        bad = frame.where("_corrupt is not null").select(F.lit(name).alias("source"), "_corrupt")
        if bad.count():
            bad.write.format("delta").mode("append").save(f"{target}-rejects")
    good = {name: frame.where("_corrupt is null").drop("_corrupt") for name, frame in frames.items()}
    rows = _apply_steps(good, product).cache()
    key = list(config.ingest.key_columns)
    if rows.groupBy(*key).count().where("count > 1").limit(1).collect():
        raise SystemExit("the key is not unique")
    _validate(rows, config)
    partitions = partitions_for(rows.count())
    rows = rows.repartition(partitions, *key).sortWithinPartitions("split", *key)
    rows.write.format("delta").partitionBy("split").save(target)
    spark.catalog.clearCache()


def run_with_casts(spark: "SparkSession", product: Product, target: str) -> None:
    """Run the stage with Spark's lenient casts instead of the grammar."""

    def cast(text: "Column", column: Declared, *_: object) -> "Column":
        return text.try_cast(column.type)

    with mock.patch.object(raw, "value_of", cast):
        stage.run(product, spark, Store(target), Path(target).name)


def _validate(rows: "DataFrame", config: Config) -> None:
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.expectations.registry import get_expectation_impl

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    batch = (
        context.data_sources.add_spark("bench").add_dataframe_asset("rows").add_batch_definition_whole_dataframe("all")
    )
    expectations = [
        get_expectation_impl(rule)(**arguments)
        for item in config.contract.expectations
        for rule, arguments in item.items()
    ]
    suite = gx.ExpectationSuite(name="bench", expectations=expectations)
    if not batch.get_batch({"dataframe": rows}).validate(suite).success:
        raise SystemExit("an expectation failed")


def _read(spark: "SparkSession", product: Product, name: str, corrupt: str = "") -> "DataFrame":
    source = product.config.sources[name]
    schema = ", ".join(f"`{column}` {kind}" for column, kind in source.types.items())
    paths = [f"file://{entry.path}" for entry in product.source_files(name)]
    if not corrupt:
        return spark.read.csv(paths, schema=schema, header=True, nullValue="NA")
    schema = f"{schema}, `{corrupt}` string"
    return spark.read.csv(
        paths, schema=schema, header=True, nullValue="NA", mode="PERMISSIVE", columnNameOfCorruptRecord=corrupt
    )


def _apply_steps(frames: "Mapping[str, DataFrame]", product: Product) -> "DataFrame":
    ingest = product.config.ingest
    frame = frames[ingest.base]
    for step in ingest.steps:
        if step.filter:
            frame = frame.where(step.filter.keep)
        if step.join:
            frame = _join(frame, frames[step.join.source], step.join)
        if step.derive:
            for name, expression in step.derive.items():
                frame = frame.selectExpr("*", f"{expression} AS `{name}`")
    key = ", ".join(f"`{name}`" for name in ingest.key_columns)
    share = f"pmod(xxhash64({key}), 1000)"
    split = f"CASE WHEN {share} < 100 THEN 'test' WHEN {share} < 200 THEN 'validation' ELSE 'train' END AS split"
    return frame.selectExpr("*", split)


def _join(frame: "DataFrame", other: "DataFrame", join: Join) -> "DataFrame":
    keys = [other[theirs].alias(f"key_{mine}") for mine, theirs in join.on.items()]
    columns = [other[theirs].alias(mine) for mine, theirs in join.columns.items()]
    right = other.select(*keys, *columns)
    condition = [frame[mine] == right[f"key_{mine}"] for mine in join.on]
    return frame.join(right, condition, join.how).drop(*(f"key_{mine}" for mine in join.on))
