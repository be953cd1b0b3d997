"""The common parts of a ``spark-submit`` command line."""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pipelines
from millrace.errors import ConfigError

ROOT: Final = Path(pipelines.__file__).parents[1]
CODE: Final = ROOT / "dist" / "millrace.zip"
"""The archive for ``--py-files``, for executors that lack the code."""


def spark_submit() -> str:
    """Return the path of ``spark-submit``.

    Raises:
        ConfigError: It is not installed.
    """
    own = Path(sys.executable).with_name("spark-submit")
    found = str(own) if own.is_file() else shutil.which("spark-submit")
    if not found:
        raise ConfigError("there is no spark-submit", hint="install millrace[spark], or put Spark's bin on the PATH")
    return found


def conf_options(conf: Mapping[str, str | int | float | bool]) -> list[str]:
    """Return ``--conf key=value`` for each setting, with true and false as Java writes them."""
    texts = {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in conf.items()}
    return [part for key, text in texts.items() for part in ("--conf", f"{key}={text}")]


def entry(stage: str) -> str:
    """Return the script that runs a stage."""
    return str(ROOT / "pipelines" / "jobs" / f"run_{stage}.py")
