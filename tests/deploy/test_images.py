"""The files that the Dockerfiles use exist, and the images do not run as root."""

import configparser
import re
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser

from tests.deploy.conftest import ROOT

FILES = sorted((ROOT / "deploy").glob("Dockerfile.*"))
IGNORED = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
BASE = r"python:3\.1[12]\.\d+-slim-bookworm"


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def lines(request: pytest.FixtureRequest, tmp_path: Path) -> list[tuple[str, str]]:
    """Instruction and value, in order. The parser gets a copy, because it opens its file for writing."""
    (tmp_path / "Dockerfile").write_text(request.param.read_text())
    parser = DockerfileParser(str(tmp_path / "Dockerfile"))
    return [(each["instruction"], each["value"]) for each in parser.structure if each["instruction"] != "COMMENT"]


def test_all_dockerfiles() -> None:
    assert [path.name for path in FILES] == ["Dockerfile.api", "Dockerfile.hadoop", "Dockerfile.spark"]


def test_the_base_is_one_version_and_the_same_everywhere(lines: list[tuple[str, str]]) -> None:
    bases = [value.split(" AS ")[0] for instruction, value in lines if instruction == "FROM"]
    assert bases
    assert all(re.fullmatch(BASE, base) for base in bases)


def test_the_last_user_is_not_root(lines: list[tuple[str, str]]) -> None:
    last = max(number for number, (instruction, _) in enumerate(lines) if instruction == "FROM")
    users = [value for instruction, value in lines[last:] if instruction == "USER"]
    assert users == ["millrace"]
    after = [instruction for instruction, _ in lines[lines.index(("USER", "millrace")) + 1 :]]
    assert after == ["CMD"]
    assert any("useradd --uid 10001" in value for instruction, value in lines[last:] if instruction == "RUN")


def test_copied_files_exist_and_are_in_the_build_context(lines: list[tuple[str, str]]) -> None:
    allowed = {line[1:] for line in IGNORED if line[0] == "!"}
    assert IGNORED[0] == "*"
    for value in [value for instruction, value in lines if instruction == "COPY" and "--from" not in value]:
        for source in value.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source in allowed, source


def test_extras_and_scripts_exist(lines: list[tuple[str, str]]) -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    runs = " ".join(value for instruction, value in lines if instruction == "RUN")
    extras = {extra for group in re.findall(r"'\.\[([\w,]+)\]'", runs) for extra in group.split(",")}
    assert extras
    assert extras <= set(config["options.extras_require"])
    assert "dev" not in extras
    for script in re.findall(r"python (\S+\.py)", runs):
        assert (ROOT / script).is_file(), script
    for module in re.findall(r"python -m (pipelines\S+)", runs):
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), module


def test_packages_are_pinned_and_leave_no_caches(lines: list[tuple[str, str]]) -> None:
    for value in [value for instruction, value in lines if instruction == "RUN"]:
        for command in re.split(r"&&", value):
            if "pip install" in command:
                assert "-c constraints.txt" in command or "--no-deps" in command, command
                assert "--no-cache-dir" in command, command
        if "apt-get install" in value:
            assert "--no-install-recommends" in value
            assert "rm -rf /var/lib/apt/lists/*" in value


def test_source_comes_after_packages(lines: list[tuple[str, str]]) -> None:
    """A change of the source must not repeat the installation of packages."""
    first_source = min(n for n, (i, v) in enumerate(lines) if i == "COPY" and v.split()[0] == "millrace")
    installs = [n for n, (i, v) in enumerate(lines) if i == "RUN" and re.search(r"'\.\[", v)]
    assert max(installs) < first_source
