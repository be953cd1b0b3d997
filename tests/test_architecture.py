"""Rules for the whole source: imports, error classes, and where files are."""

import ast
import configparser
import importlib
import inspect
import pkgutil
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from millrace.config import load_product
from millrace.errors import MillraceError
from millrace.failpoints import FAILPOINTS
from pipelines.jobs.exits import EXIT_CODES

ROOT = Path(__file__).parents[1]
PACKAGES = ("millrace", "pipelines", "ingest", "train", "serve")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MODULES = [path for path in SOURCES if path.name != "__init__.py"]
MAX_MODULES = 11
PROGRAMMING_ERRORS = {"millrace.failpoints.FailpointFired"}
"""Exceptions that only a bug or a test raises."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def import_all() -> Iterator[object]:
    """Import every module of the packages, including the entries of spark-submit."""
    for package in PACKAGES:
        root = importlib.import_module(package)
        yield root
        for info in pkgutil.walk_packages(root.__path__, f"{package}."):
            yield importlib.import_module(info.name)


def test_every_error_derives_from_millrace_error() -> None:
    """An error class that derives from `MillraceError` has an exit code; any other exception is reported as a bug."""
    others = {
        f"{kind.__module__}.{kind.__qualname__}"
        for module in import_all()
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if kind.__module__.partition(".")[0] in PACKAGES
        and issubclass(kind, BaseException)
        and not issubclass(kind, MillraceError)
    }
    assert others == PROGRAMMING_ERRORS


def test_every_kind_of_error_has_an_exit_code() -> None:
    direct = {kind for kind in MillraceError.__subclasses__() if kind.__module__ == "millrace.errors"}
    assert set(EXIT_CODES) == direct
    assert all(kind.__module__ == "millrace.errors" for kind in MillraceError.__subclasses__())


@pytest.mark.parametrize("path", sorted((ROOT / "conf" / "pipelines").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_product_loads(path: Path) -> None:
    assert load_product(path).config.product == path.stem


def test_no_source_file_is_long() -> None:
    long = {name_of(path): count for path in SOURCES if (count := len(path.read_text().splitlines())) > 300}
    assert long == {}


def test_no_folder_has_too_many_modules() -> None:
    """A folder with more modules than this is split into subfolders."""
    folders = Counter(name_of(path.parent) for path in MODULES)
    assert {folder: count for folder, count in folders.items() if count > MAX_MODULES} == {}


def test_test_folders_mirror_source_folders() -> None:
    """Every folder of tests has the same path below ``tests/`` as a source folder."""
    folders = {path.parent for path in SOURCES}
    tests = (path for package in PACKAGES for path in (ROOT / "tests" / package).rglob("test_*.py"))
    assert {name_of(path) for path in tests if ROOT / path.parent.relative_to(ROOT / "tests") not in folders} == set()


def test_the_architecture_page_names_files_that_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`((?:\w+/)+(?:\w+\.\w+)?)`", page))
    assert len(named) > 50
    assert {name for name in named if not (ROOT / name).exists()} == set()


@pytest.mark.parametrize("package", ["pipelines", "ingest", "train", "serve"])
def test_the_picture_shows_the_layers(package: str) -> None:
    """The boxes of the stages in docs/architecture.md have the lines of their contracts in setup.cfg."""
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / "setup.cfg")
    (section,) = (s for s in contracts.values() if s.get("containers", "").strip() == package)
    layers = section["layers"].split("\n")[1:]
    page = (ROOT / "docs" / "architecture.md").read_text().splitlines()
    top = next(number for number, line in enumerate(page) if f"+-- {package} -" in line)
    left = page[top].index(f"+-- {package} -")
    lines = [line[left + 1 :].partition("|")[0].split() for line in page[top + 1 : top + 1 + len(layers)]]
    assert [sorted(line) for line in lines] == [sorted(layer.replace("|", " ").split()) for layer in layers]


def calls_of(path: Path, function: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function:
            assert isinstance(node.args[0], ast.Constant), f"{name_of(path)}: name the failpoint as a literal"
            yield str(node.args[0].value)


def test_every_failpoint_is_used_in_the_source() -> None:
    used = Counter(name for path in SOURCES for name in calls_of(path, "fail_here"))
    assert set(used) == set(FAILPOINTS)


def strict_outputs(source: str) -> list[int]:
    """Return the lines of the calls that end with UnicodeDecodeError if a program's output is not UTF-8."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    options = {call.lineno: {keyword.arg for keyword in call.keywords} for call in calls}
    return [line for line, names in options.items() if names & {"text", "universal_newlines"} and "errors" not in names]


def test_any_output_of_a_program_can_be_read() -> None:
    more = [path for folder in ("scripts", "chaos", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    assert strict_outputs("run(command,\n text=True)\nrun(command, text=True, errors='replace')") == [1]
    assert {name_of(path): lines for path in (*SOURCES, *more) if (lines := strict_outputs(path.read_text()))} == {}


def test_contracts_and_the_command_line_load_no_engine() -> None:
    modules = [
        name_of(path).removesuffix(".py").replace("/", ".")
        for path in MODULES
        if path.relative_to(ROOT).parts[0] in ("millrace", "pipelines")
    ]
    engines = ("pyspark", "tensorflow", "keras", "horovod", "fastapi", "uvicorn", "great_expectations")
    code = f"import sys, {', '.join(modules)}; print(*set({engines!r}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source and its import contracts, which the tests change."""
    folder = tmp_path_factory.mktemp("copy")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "setup.cfg", folder)
    return folder


@pytest.mark.parametrize(
    ("path", "line", "contracts"),
    [
        ("millrace/storage/store.py", "", set()),
        ("millrace/storage/store.py", "import pyspark", {"Millrace", "The server", "A training rank"}),
        ("millrace/progress.py", "import pipelines.jobs.exits", {"Packages"}),
        ("serve/servables/servable.py", "import train", {"Packages"}),
        ("millrace/tables/rows.py", "import millrace.config.load", {"Rooms of millrace"}),
        ("millrace/config/sections/names.py", "import millrace.config.load", {"Rooms of millrace.config"}),
        ("pipelines/jobs/exits.py", "import pipelines.commands.show", {"Rooms of pipelines"}),
        ("ingest/readers/raw.py", "import ingest.checks.keys", {"Rooms of ingest"}),
        ("train/data/rows.py", "import train.loop.fit", {"Rooms of train"}),
        ("serve/values/nested.py", "import serve.protocols.tfs", {"Rooms of serve"}),
        ("train/gates.py", "", {"Rooms of train"}),
        ("ingest/checks/keys.py", "import fastapi", {"Ingest and train"}),
        ("serve/errors.py", "import horovod", {"The server"}),
        ("train/ranks/worker.py", "import pyspark", {"A training rank"}),
    ],
)
def test_import_contracts(path: str, line: str, contracts: set[str], copy: Path) -> None:
    module = copy / path
    original = module.read_text() if module.exists() else None
    module.write_text(f"{original or ''}\n{line}\n")
    try:
        command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    finally:
        if original is None:
            module.unlink()
        else:
            module.write_text(original)
    broken = re.findall(r"^(.*) BROKEN\b", done.stdout, re.MULTILINE)
    assert {next((c for c in contracts if name.startswith(c)), name) for name in broken} == contracts, done.stdout
    assert (done.returncode == 0) == (not contracts)
