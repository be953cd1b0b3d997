"""Fixtures with the synthetic product, whose stages all run once."""

from pathlib import Path

import pytest

from millrace.failpoints import FAILPOINTS
from millrace.storage import Store
from tests.e2e.commands import Done, run_command
from tests.made_up import write_product

ROWS = 11_000


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder outside the project that contains the product."""
    folder = tmp_path_factory.mktemp("home")
    write_product(folder, ROWS)
    return folder


@pytest.fixture(scope="session")
def finished(home: Path) -> Done:
    """The result of ``millrace run`` in that folder; the file ``fired`` lists the failpoints that it reached."""
    noted = ",".join(f"{point}=note" for point in FAILPOINTS)
    return run_command(home, "millrace", "run", "shapes.yaml", fail=noted, MILLRACE_FAIL_LOG=str(home / "fired"))


@pytest.fixture(scope="session")
def made(home: Path, finished: Done) -> Store:
    """The store that this run filled."""
    assert finished.code == 0, finished.err
    return Store(str(home / "millrace-store"))
