"""Computes the statistics of the train split with Spark: means, vocabularies, class counts."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from millrace.config.sections.train import Features, LabelColumn
from millrace.features.encoding import INT64_MIN
from millrace.features.spec import Category, Cyclic, Numeric, table_dtype
from millrace.storage import uri_of
from millrace.tables.versions import TableVersion
from train.errors import NotTrainable
from train.preprocessing.statistics import LabelStatistics, NumericStatistics, Statistics

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession


BINS: Final = 8
"""Number of bins between the quantiles of an input."""
ROUNDING: Final = 1e-14
"""A standard deviation below this share of the largest value, 45 units of a float64's last place, is rounding."""
SAMPLE_ROWS: Final = 20_000
"""About as many rows are sorted for the quantiles; their error is then below 1 % of the rows."""


def measure(
    spark: "SparkSession", table: TableVersion, features: Features, key: tuple[str, ...], *, classes: bool
) -> Statistics:
    """Compute the statistics of the train split of a table version; no rows are sent to the driver.

    Args:
        spark: The session.
        table: Only its train split is read, so no information of the test rows leaks into the model.
        features: Inputs and label.
        key: Columns that identify a row; the sample for quantiles is chosen by their hash, so it is always the same.
        classes: Count the classes of the label; otherwise compute its mean and standard deviation.

    Raises:
        NotTrainable: An input has no value, and `features.empty_inputs` is ``refuse``.
    """
    from pyspark.sql import functions as F

    table_frame = spark.read.format("delta").option("versionAsOf", table.version).load(uri_of(table.uri))
    frame = table_frame.where(F.col("split") == "train")
    sample = F.pmod(F.xxhash64(*key), F.lit(max(1, table.rows_of("train") // SAMPLE_ROWS))) == 0
    numeric, empty_numbers = _numeric(frame, features, table, sample)
    vocabularies = _vocabularies(frame, features, table)
    empty_categories = [name for name, words in vocabularies.items() if not words]
    if (empty_numbers or empty_categories) and features.empty_inputs == "refuse":
        texts = []
        if empty_numbers:
            texts.append(f"inputs without a single value in the train split: {', '.join(empty_numbers)}")
        if empty_categories:
            texts.append(f"categories without a value in the train split: {', '.join(empty_categories)}")
        hint = "remove them, lower a category's min_count, or set features.empty_inputs: drop"
        raise NotTrainable("; ".join(texts), hint=hint)
    return Statistics(
        numeric=numeric,
        vocabularies={name: words for name, words in vocabularies.items() if words},
        label=_label(table_frame, features.label, classes=classes),
        empty=(*empty_numbers, *empty_categories),
    )


def _present(column: "Column", type_name: str, *, log: bool = False) -> "Column":
    """The value as the graph takes it: times in microseconds, and null where the graph sees a missing value."""
    from pyspark.sql import functions as F

    is_time = type_name.startswith(("date", "timestamp"))
    value = F.unix_micros(column.cast("timestamp")).cast("double") if is_time else column.cast("double")
    as_float = value.cast("float")  # infinite if a float32 cannot hold it
    is_missing = F.isnan(value) | (F.abs(as_float) == float("inf")) | _is_marker(column, type_name)
    return F.when(is_missing | (value <= -1.0) if log else is_missing, None).otherwise(value)


def _is_marker(column: "Column", type_name: str) -> "Column":
    """Whether an integer is the one that stands for a missing value in the graph."""
    from pyspark.sql import functions as F

    return column == F.lit(INT64_MIN) if type_name in ("long", "bigint") else F.lit(False)


def _numeric(
    frame: "DataFrame", features: Features, table: TableVersion, sample: "Column"
) -> tuple[dict[str, NumericStatistics], list[str]]:
    """Statistics of numeric inputs, and the names of numeric and cyclic inputs without a value."""
    from pyspark.sql import functions as F

    quantities = {name: t for name, t in features.inputs.items() if isinstance(t, Numeric)}
    cyclic = [name for name, t in features.inputs.items() if isinstance(t, Cyclic)]
    measures = [F.count(_present(F.col(name), table.columns[name])).alias(f"{name}.count") for name in cyclic]
    quantiles, shares = [], [position / BINS for position in range(BINS + 1)]
    for name, transform in quantities.items():
        plain = _present(F.col(name), table.columns[name], log=transform.log)
        value = F.log1p(plain) if transform.log else plain
        measures += [F.avg(value).alias(f"{name}.mean"), F.stddev_pop(value).alias(f"{name}.std")]
        measures += [F.min(plain).alias(f"{name}.min"), F.max(plain).alias(f"{name}.max")]
        measures += [F.min(value).alias(f"{name}.least"), F.max(value).alias(f"{name}.most")]
        quantiles.append(F.percentile(value, shares).alias(f"{name}.quantiles"))
    if not measures:
        return {}, []
    row = frame.agg(*measures).collect()[0].asDict()
    if quantiles:  # apart: with them, Spark compiles no code for the other measures of all rows
        row |= frame.where(sample).agg(*quantiles).collect()[0].asDict()
    measured = [name for name in quantities if row[f"{name}.mean"] is not None]
    empty = [name for name in quantities if name not in measured]
    empty += [name for name in cyclic if not row[f"{name}.count"]]
    return {name: _statistics(name, row) for name in measured}, empty


def _statistics(name: str, row: Mapping[str, Any]) -> NumericStatistics:
    return NumericStatistics(
        mean=row[f"{name}.mean"],
        std=_spread(row[f"{name}.std"], row[f"{name}.least"], row[f"{name}.most"]),
        min=row[f"{name}.min"],
        max=row[f"{name}.max"],
        quantiles=tuple(row[f"{name}.quantiles"] or ()),
    )


def _spread(std: float, least: float, most: float) -> float:
    """The standard deviation, or 1 if all values are the same but for rounding, which standardising would enlarge.

    Sums in several partitions give a deviation above 0 even for equal values.
    """
    return 1.0 if least == most or std <= ROUNDING * max(abs(least), abs(most)) else std


def _vocabularies(
    frame: "DataFrame", features: Features, table: TableVersion
) -> dict[str, tuple[int, ...] | tuple[str, ...]]:
    """Compute all vocabularies in one pass, the most frequent value first."""
    from pyspark.sql import functions as F
    from pyspark.sql.window import Window

    categories = {name: t for name, t in features.inputs.items() if isinstance(t, Category)}
    if not categories:
        return {}
    is_text = {name: table_dtype(name, table.columns[name]) == "string" for name in categories}
    values = {n: F.when(~_is_marker(F.col(n), table.columns[n]), F.col(n)) for n in categories}
    as_text = {n: value if is_text[n] else value.cast("bigint").cast("string") for n, value in values.items()}
    pairs = F.explode(F.array(*(F.struct(F.lit(n).alias("name"), c.alias("value")) for n, c in as_text.items())))
    counts = (
        frame.select(pairs.alias("pair"))
        .select("pair.*")
        .where("value is not null and value != ''")
        .groupBy("name", "value")
        .count()
    )
    limits = F.create_map(*(F.lit(x) for n, t in categories.items() for x in (n, t.max_vocabulary)))
    least = F.create_map(*(F.lit(x) for n, t in categories.items() for x in (n, t.min_count)))
    position = F.row_number().over(Window.partitionBy("name").orderBy(F.desc("count"), "value"))
    kept = counts.where(F.col("count") >= least[F.col("name")]).withColumn("position", position)
    rows = kept.where(F.col("position") <= limits[F.col("name")]).orderBy("name", "position").collect()
    found: dict[str, list[str]] = {name: [] for name in categories}
    for row in rows:
        found[row["name"]].append(row["value"])
    return {n: tuple(values) if is_text[n] else tuple(int(v) for v in values) for n, values in found.items()}


def _label(table_frame: "DataFrame", label: LabelColumn, *, classes: bool) -> LabelStatistics:
    """Statistics of the label in the train split, and its missing values in all splits."""
    from pyspark.sql import functions as F

    column = F.col(label.column)
    value = column if classes else _present(column, "double")
    counted = [F.count(F.lit(1)).alias("rows"), F.count(value).alias("known"), F.min(value).alias("min")]
    by_split = table_frame.groupBy("split").agg(*counted).collect()
    splits = {row["split"]: (row["rows"], row["known"]) for row in by_split}
    found: dict[str, Any] = {
        "rows": {split: rows for split, (rows, _) in splits.items()},
        "missing": {split: rows - known for split, (rows, known) in splits.items() if known < rows},
    }
    frame = table_frame.where(F.col("split") == "train")
    if classes:
        counts = frame.where(column.isNotNull()).groupBy(column.alias("label")).count().collect()
        rows = [(row["label"], row["count"]) for row in counts]
        ordered = sorted((int(k) if isinstance(k, bool) else k, n) for k, n in rows)
        return LabelStatistics(**found, counts=tuple(ordered))
    found["min"] = min((row["min"] for row in by_split if row["known"]), default=0.0)
    measures = {"mean": F.avg(value), "std": F.stddev_pop(value), "least": F.min(value), "most": F.max(value)}
    if label.log:
        # A value of -1 or less is reported by its minimum.
        logarithm = F.when(value > -1, F.log1p(value))
        measures |= {"log_mean": F.avg(logarithm), "log_std": F.stddev_pop(logarithm)}
        measures |= {"log_least": F.min(logarithm), "log_most": F.max(logarithm)}
    row = frame.agg(*(measure.alias(name) for name, measure in measures.items())).collect()[0].asDict()
    for prefix in ("", "log_"):
        if row.get(f"{prefix}std") is not None:
            found |= {f"{prefix}mean": row[f"{prefix}mean"]}
            found[f"{prefix}std"] = _spread(*(row[f"{prefix}{name}"] for name in ("std", "least", "most")))
    return LabelStatistics(**found)
