"""Install the jars of spark-jars.txt and the settings of conf/spark in the Spark of this environment."""

import shutil
import sys
from pathlib import Path

from jars import copy, install_jars, spark_home
from pins import ROOT

FIND_SPARK_HOME = """\
# Written by scripts/spark_home.py. Spark's own script looks for pyspark with the first python3 on
# PATH. With this one, .venv/bin/spark-submit works from any folder.
export SPARK_HOME="${{SPARK_HOME:-{home}}}"
export PATH="{bin_dir}:$PATH"
"""


def install_settings(home: Path) -> None:
    """Copy conf/spark to Spark's conf folder, which the pyspark wheel does not contain."""
    shutil.rmtree(home / "conf", ignore_errors=True)
    (home / "conf").mkdir()
    for source in sorted((ROOT / "conf" / "spark").glob("*")):
        if source.suffix in {".properties", ".conf"}:
            copy(source, home / "conf" / source.name)


def install_launcher(home: Path) -> None:
    """Write ``find-spark-home``, which gives Spark's scripts the paths of Spark and Python."""
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
