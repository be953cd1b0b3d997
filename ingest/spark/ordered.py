"""Sorts rows by one number, so that Spark's fast sort for numbers applies, and keeps this order through later joins.

The classes below are Spark's own, in the version that the project pins; they have no public interface.
"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from pyspark.sql import DataFrame

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_EXCLUDED: Final = "spark.sql.optimizer.excludedRules"
_SHUFFLES: Final = "spark.databricks.delta.optimizeWrite.enabled"
"""Delta's setting that shuffles rows before it writes them."""
_REMOVES_SORTS: Final = "org.apache.spark.sql.catalyst.optimizer.EliminateSorts"
"""Spark's rule that removes a sort below a join, because joins promise no order."""


def sort_by(frame: "DataFrame", number: str, like: str) -> "DataFrame":
    """Sort the rows of each partition.

    Args:
        frame: The rows.
        number: A column of integers to sort by, nulls first. Spark sorts by the bits of one number several times as
            fast as by several columns.
        like: A column that is in order whenever `number` is, so that a writer that wants it in order does not sort.
    """
    spark = frame.sparkSession
    jvm: Any = spark._jvm
    catalyst = jvm.org.apache.spark.sql.catalyst
    plan = frame._jdf.queryExecution().analyzed()
    output = plan.output()
    columns = {output.apply(position).name(): output.apply(position) for position in range(output.size())}
    ascending, nulls_first = (_object(catalyst.expressions, name) for name in ("Ascending", "NullsFirst"))
    sequence = jvm.PythonUtils.toSeq
    order = catalyst.expressions.SortOrder(columns[number], ascending, nulls_first, sequence([columns[like]]))
    sort = catalyst.plans.logical.Sort(sequence([order]), False, plan, _object(jvm.scala, "None"))
    return DataFrame(_object(jvm.org.apache.spark.sql.classic, "Dataset").ofRows(spark._jsparkSession, sort), spark)


def is_in_order(frame: "DataFrame", column: str) -> bool:
    """Whether Spark plans the rows of each partition in the order of a column; to be called while `keeping_order`."""
    plan = frame._jdf.queryExecution().executedPlan()  # with the shuffles that joins need
    if plan.getClass().getSimpleName() == "AdaptiveSparkPlanExec":
        plan = plan.initialPlan()
    ordering = plan.outputOrdering()
    if ordering.isEmpty():
        return False
    children = ordering.head().children()
    expressions = [children.apply(position) for position in range(children.size())]
    return any(
        expression.getClass().getSimpleName() == "AttributeReference" and expression.name() == column
        for expression in expressions
    )


@contextlib.contextmanager
def keeping_order(spark: "SparkSession") -> Iterator[None]:
    """Have Spark keep the order of all frames that are planned and written meanwhile."""
    rules, shuffles = spark.conf.get(_EXCLUDED, None), spark.conf.get(_SHUFFLES, None)
    spark.conf.set(_EXCLUDED, ",".join(filter(None, (rules, _REMOVES_SORTS))))
    spark.conf.set(_SHUFFLES, "false")
    try:
        yield
    finally:
        for name, before in ((_EXCLUDED, rules), (_SHUFFLES, shuffles)):
            if before is None:
                spark.conf.unset(name)
            else:
                spark.conf.set(name, before)


def _object(package: Any, name: str) -> Any:
    return getattr(getattr(package, f"{name}$"), "MODULE$")
