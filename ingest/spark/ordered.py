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
    ordering = frame._jdf.queryExecution().sparkPlan().outputOrdering()
    if ordering.isEmpty():
        return False
    children = ordering.head().children()
    names = [children.apply(position) for position in range(children.size())]
    return any(getattr(child, "name", None) and child.name() == column for child in names)


@contextlib.contextmanager
def keeping_order(spark: "SparkSession") -> Iterator[None]:
    """Have Spark keep the sorts of all frames that are planned meanwhile."""
    before = spark.conf.get(_EXCLUDED, "")
    spark.conf.set(_EXCLUDED, ",".join(filter(None, (before, _REMOVES_SORTS))))
    try:
        yield
    finally:
        if before:
            spark.conf.set(_EXCLUDED, before)
        else:
            spark.conf.unset(_EXCLUDED)


def _object(package: Any, name: str) -> Any:
    return getattr(getattr(package, f"{name}$"), "MODULE$")
