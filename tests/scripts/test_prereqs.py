"""Messages of the check of prerequisites."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "prereqs"
TOOLS = {
    "c++": "exit 0",
    "java": """echo 'openjdk version "17.0.1" 2021-10-19' >&2""",
    "make": "exit 0",
    "python3.11": f'exec "{sys.executable}" "$@"',
}


@pytest.fixture
def bin_dir(tmp_path: Path) -> Path:
    """A PATH with the tools of the script and a fake of each prerequisite."""
    for name in ("head", "sed", "sh"):
        source = next(Path(d, name) for d in os.get_exec_path() if Path(d, name).exists())
        (tmp_path / name).symlink_to(source)
    for name, body in TOOLS.items():
        write_tool(tmp_path, name, body)
    return tmp_path


def write_tool(bin_dir: Path, name: str, body: str) -> None:
    (bin_dir / name).write_text(f"#!{bin_dir / 'sh'}\n{body}\n")
    (bin_dir / name).chmod(0o755)


def check(bin_dir: Path, **env: str) -> tuple[int, list[str]]:
    """Run the check and return its exit code and the lines on stderr."""
    done = subprocess.run(
        [bin_dir / "sh", SCRIPT],
        env={"PATH": str(bin_dir), **env},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr.splitlines()


def test_all_present(bin_dir: Path) -> None:
    assert check(bin_dir) == (0, [])


@pytest.mark.parametrize(
    ("tool", "install"),
    [
        ("c++", "install g++"),
        ("java", "install openjdk-17"),
        ("make", "install make"),
        ("python3.11", "install python3.11"),
    ],
)
def test_each_missing_one_is_one_line(bin_dir: Path, tool: str, install: str) -> None:
    (bin_dir / tool).unlink()
    code, lines = check(bin_dir)
    assert code == 1
    assert len(lines) == 1
    assert install in lines[0]


def test_all_missing_are_named_together(bin_dir: Path) -> None:
    for tool in TOOLS:
        (bin_dir / tool).unlink()
    code, lines = check(bin_dir)
    assert (code, len(lines)) == (1, len(TOOLS))


@pytest.mark.parametrize(("version", "found"), [("11.0.2", "found 11"), ("1.8.0_392", "found 8")])
def test_old_java_is_named_with_its_version(bin_dir: Path, version: str, found: str) -> None:
    write_tool(bin_dir, "java", f"""echo 'java version "{version}"' >&2""")
    code, lines = check(bin_dir)
    assert code == 1
    assert found in lines[0]


def test_java_home_comes_first(bin_dir: Path) -> None:
    _, lines = check(bin_dir, JAVA_HOME="/nowhere")
    assert "/nowhere/bin/java" in lines[0]


def test_a_wrong_python_is_named(bin_dir: Path) -> None:
    write_tool(bin_dir, "old", "exit 1")
    _, lines = check(bin_dir, PYTHON="old")
    assert "PYTHON=old" in lines[0]
