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
    assert after in (["CMD"], ["ENTRYPOINT", "CMD"])
    assert any("useradd --uid 10001" in value for instruction, value in lines[last:] if instruction == "RUN")


def test_copied_files_exist_and_are_in_the_build_context(lines: list[tuple[str, str]]) -> None:
    allowed = {line[1:] for line in IGNORED if line[0] == "!"}
    assert IGNORED[0] == "*"
    for value in [value for instruction, value in lines if instruction == "COPY" and "--from" not in value]:
        for source in value.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert {source, source.partition("/")[0]} & allowed, source


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
    """A change of the source or of the README must not repeat the installation of packages."""
    sources = ("millrace", "README.md", "conf")
    first_source = min(n for n, (i, v) in enumerate(lines) if i == "COPY" and set(v.split()) & set(sources))
    installs = [n for n, (i, v) in enumerate(lines) if i == "RUN" and re.search(r"'\.\[", v)]
    assert max(installs) < first_source


READ = re.compile(r"scripts/(\w+\.py)")


def read_by(script: str) -> set[str]:
    """Return the files in scripts/ that a script reads: itself, what it imports, and the lists that it names."""
    text = (ROOT / "scripts" / script).read_text()
    modules = {f"{name}.py" for name in re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE)}
    names = {name for name in modules if (ROOT / "scripts" / name).is_file()} - {script}
    lists = set(re.findall(r'"([\w-]+\.txt)"', text)) - {"constraints.txt"}
    return {script, *lists}.union(*map(read_by, names))


@pytest.mark.case("D6")
def test_slow_steps_come_after_only_what_they_read(lines: list[tuple[str, str]]) -> None:
    """Of scripts/ and conf/, a step that builds or downloads has only its own files before it."""
    copied: set[str] = set()
    needed: set[str] = set()
    for instruction, value in lines:
        if instruction == "FROM":
            copied, needed = set(), set()
        if instruction == "COPY":
            copied |= {source for source in value.split()[:-1] if source.partition("/")[0] in ("scripts", "conf")}
        scripts = READ.findall(value) if instruction == "RUN" else []
        if scripts and scripts != ["dist.py"]:
            needed |= {f"scripts/{name}" for script in scripts for name in read_by(script)}
            needed |= {"conf/spark"} if "spark_home.py" in scripts else set()
            assert copied == needed


@pytest.mark.case("D7")
def test_what_only_builds_need_is_not_in_the_images(lines: list[tuple[str, str]]) -> None:
    """Each in the step that makes it, because a later step cannot take it out of an image."""
    last = max(number for number, (instruction, _) in enumerate(lines) if instruction == "FROM")
    for value in [value for instruction, value in lines[last:] if instruction == "RUN"]:
        if re.search(r"pip install .*(?:'\.\[| -e \.)", value):
            assert re.search(r"rm -rf build millrace\.egg-info", value), value
        if re.search(r"'\.\[.*(?:serve|train)", value):
            assert "tensorflow/include" in value
        if "MILLRACE_CACHE=/tmp/cache" in value:
            assert "rm -rf /tmp/cache" in value


@pytest.mark.case("K1")
def test_a_user_without_a_name_can_write_where_images_write(lines: list[tuple[str, str]]) -> None:
    last = max(number for number, (instruction, _) in enumerate(lines) if instruction == "FROM")
    (value,) = [value for instruction, value in lines[last:] if instruction == "RUN" and "useradd" in value]
    made = set(re.findall(r" (/[\w/]+)", value.partition("mkdir -p")[2].partition("&&")[0] + " "))
    for verb in ("chown millrace:0", "chmod 775"):
        assert set(re.findall(r" (/[\w/]+)", value.partition(verb)[2].partition("&&")[0] + " ")) == made != set()
