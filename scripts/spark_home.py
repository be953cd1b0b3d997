"""Put the jars of spark-jars.txt and the settings of conf/spark into this environment's Spark."""

import shutil
import sys
from pathlib import Path

from jars import copy, install_jars, spark_home
from pins import ROOT

FIND_SPARK_HOME = """\
# Written by scripts/spark_home.py. Spark's own looks for pyspark with whatever python3 comes first
# on PATH; this lets .venv/bin/spark-submit work by its path, from any folder.
export SPARK_HOME="${{SPARK_HOME:-{home}}}"
export PATH="{bin_dir}:$PATH"
"""


def install_settings(home: Path) -> None:
    """Make Spark's conf folder, which the wheel does not have, a copy of ours."""
    shutil.rmtree(home / "conf", ignore_errors=True)
    (home / "conf").mkdir()
    for source in sorted((ROOT / "conf" / "spark").glob("*")):
        if source.suffix in {".properties", ".conf"}:
            copy(source, home / "conf" / source.name)


def install_launcher(home: Path) -> None:
    """Tell Spark's scripts in this environment where Spark and Python are."""
    bin_dir = Path(sys.prefix, "bin")
    text = FIND_SPARK_HOME.format(home=home, bin_dir=bin_dir)
    (bin_dir / "find-spark-home").write_text(text, encoding="utf-8")


def main() -> None:
    """Prepare this environment's Spark."""
    home = spark_home()
    install_jars("spark-jars.txt", home / "jars")
    install_settings(home)
    install_launcher(home)


if __name__ == "__main__":
    main()
