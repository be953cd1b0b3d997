"""The set-up files agree with each other, and each package installs and imports only what it needs."""

import configparser
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONSTRAINTS = (ROOT / "constraints.txt").read_text().splitlines()
BUILD_ONLY = {"cmake", "pip"}
KERBEROS = {"decorator", "gssapi", "krb5", "pyspnego", "requests-kerberos"}
"""Packages for Kerberos, which set-up does not install because they are built with the system's library."""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


def closure(requirements: list[str]) -> set[str]:
    """Return the names of all installed packages that the requirements need, with dependencies."""
    from packaging.requirements import Requirement

    seen: set[tuple[str, str]] = set()
    todo = [Requirement(text) for text in requirements]
    while todo:
        requirement = todo.pop()
        for extra in ["", *requirement.extras]:
            node = (canonical(requirement.name), extra)
            if node in seen:
                continue
            seen.add(node)
            declared = importlib.metadata.requires(requirement.name) or []
            found = [Requirement(text) for text in declared]
            todo += [r for r in found if not r.marker or r.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}


def test_every_constraint_is_one_exact_version() -> None:
    assert [c for c in CONSTRAINTS if not re.fullmatch(r"[a-z0-9-]+==[\w.]+", c)] == []
    assert sorted(CONSTRAINTS, key=lambda line: line.split("==")[0]) == CONSTRAINTS


def test_all_installed_requirements_are_pinned() -> None:
    pinned = dict(line.split("==") for line in CONSTRAINTS)
    required = closure(["millrace[spark,train,serve,otel,transfer,dev]"]) - {"millrace"}
    versions = {name: importlib.metadata.version(name) for name in required}
    assert {name: v for name, v in versions.items() if pinned.get(name) != v} == {}
    assert set(pinned) - required <= BUILD_ONLY | KERBEROS


def test_a_server_installs_no_spark_and_no_horovod() -> None:
    options = setup_cfg()["options"]["install_requires"].split()
    serve = setup_cfg()["options.extras_require"]["serve"].split()
    required = closure([*options, *serve])
    assert {"fastapi", "tensorflow-cpu"} <= required
    assert not required & {"pyspark", "py4j", "horovod", "great-expectations", "pandas"}


def test_changelog_names_the_version() -> None:
    version = setup_cfg()["metadata"]["version"]
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert version == importlib.metadata.version("millrace")
    released = headings[1:]
    assert not released or released[0] == version


@pytest.mark.parametrize(
    ("module", "banned"),
    [
        ("millrace.config", {"pyspark", "tensorflow", "keras", "great_expectations", "fastapi"}),
        (
            "pipelines.commands.cli",
            {"pyspark", "tensorflow", "keras", "great_expectations", "hdfs", "requests", "crc32c"},
        ),
        ("pipelines.hadoop.service", {"pydantic", "psutil", "rich"}),
        ("serve.server.app", {"pyspark", "horovod"}),
        ("serve.scoring.score", {"pyspark", "horovod", "tensorflow"}),
        ("train.ranks.worker", {"pyspark", "fastapi"}),
    ],
)
def test_an_import_loads_no_engine_of_another_stage(module: str, banned: set[str]) -> None:
    code = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert banned & set(done.stdout.split()) == set()
