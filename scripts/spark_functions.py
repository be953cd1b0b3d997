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


def find_functions(spark: "SparkSession") -> dict[str, Any]:
    """All functions of a session without functions of its own, and those whose result changes."""
    names = sorted({row[0].lower() for row in spark.sql("SHOW SYSTEM FUNCTIONS").collect()})
    words = [name for name in names if name.isidentifier()]
    changing = sorted(name for name in words if name in CLOCKS or not _is_deterministic(spark, name))
    return {"version": spark.version, "names": words, "changing": changing}


def _is_deterministic(spark: "SparkSession", name: str) -> bool:
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
