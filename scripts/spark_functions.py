"""Write the list of Spark's functions that ``millrace config check`` uses.

``python scripts/spark_functions.py`` replaces the list; a test compares it with the installed Spark.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TARGET: Final = Path(__file__).parents[1] / "millrace" / "config" / "checks" / "spark_functions.json"
ARGUMENTS: Final = ("", "1", "'a'", "array(1)", "1, 2", "'a', 'b'", "array(1), 1", "1, 2, 3", "timestamp'2024-01-01'")
"""Arguments that are tried until a call can be analysed."""
CLOCKS: Final = frozenset({"curdate", "current_date", "current_time", "current_timestamp", "localtimestamp", "now"})
"""Spark counts these as deterministic, because they are the same in one query. In the next run they are not."""


def find_names(spark: "SparkSession") -> list[str]:
    """The names of Spark's own functions; operators are none."""
    names = {row[0].lower() for row in spark.sql("SHOW SYSTEM FUNCTIONS").collect()}
    return sorted(name for name in names if name.isidentifier())


def find_functions(spark: "SparkSession") -> dict[str, Any]:
    """All functions, and those whose result changes; to try all of them takes minutes."""
    names = find_names(spark)
    changing = [name for name in names if name in CLOCKS or not is_deterministic(spark, name)]
    return {"version": spark.version, "names": names, "changing": changing}


def is_deterministic(spark: "SparkSession", name: str) -> bool:
    """Whether a function always gives the same value for the same arguments, as Spark's analysis says."""
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException

    for arguments in ARGUMENTS:
        try:
            frame = spark.range(1).selectExpr(f"{name}({arguments})")
            return bool(frame._jdf.queryExecution().analyzed().deterministic())
        except (PySparkException, Py4JJavaError):
            continue
    return True


def main() -> int:
    """Write the list."""
    from millrace.config.sections.profile import Spark
    from pipelines.jobs.session import build_session

    spark = build_session(Spark(master="local[1]"), app_name="functions")
    try:
        found = find_functions(spark)
    finally:
        spark.stop()
    TARGET.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{TARGET}: {len(found['names'])} functions of Spark {found['version']}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
