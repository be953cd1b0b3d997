"""The archive with the environment of executors: its content agrees with setup.cfg and docs/clusters.md."""

import configparser
import fnmatch
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]


def test_it_contains_the_extras_of_stages_and_no_tools(load_script: Callable[[str], ModuleType]) -> None:
    environment = load_script("environment")
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"]
    assert set(environment.EXTRAS.split(",")) <= set(extras)
    assert "dev" not in environment.EXTRAS


def test_what_is_left_out_is_never_imported(load_script: Callable[[str], ModuleType]) -> None:
    environment = load_script("environment")

    def left_out(path: str) -> bool:
        return any(fnmatch.fnmatch(path, pattern) for pattern in environment.LEFT_OUT)

    assert left_out("lib/python3.11/site-packages/pyspark/jars/spark-core.jar")
    assert not left_out("lib/python3.11/site-packages/pyspark/sql/session.py")
    assert not left_out("lib/python3.11/site-packages/tensorflow/python/__init__.py")


def test_the_documentation_has_its_name(load_script: Callable[[str], ModuleType]) -> None:
    environment = load_script("environment")
    name = environment.TARGET.relative_to(ROOT).as_posix()
    assert f"{name}#environment" in (ROOT / "docs" / "clusters.md").read_text()
