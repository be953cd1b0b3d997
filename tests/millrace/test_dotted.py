"""User functions are found in their source, not by running it."""

import sys
from pathlib import Path

import pytest

from millrace.dotted import digest_of_module, find_function, load_function, suggestion
from millrace.errors import ConfigError

SOURCE = """
raise RuntimeError("this module must not be run to be checked")
from os.path import join as imported, exists
assigned = lambda: 1
def plain(): ...
class Kind: ...
if True:
    def inside_if(): ...
else:
    def inside_else(): ...
try:
    from nowhere import fast
except ImportError:
    def fast(): ...
def outer():
    def hidden(): ...
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package ``mr_user`` of a user's own, not imported yet."""
    folder = tmp_path / "mr_user"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "steps.py").write_text(SOURCE)
    (folder / "broken.py").write_text("def f(:\n")
    (folder / "stars.py").write_text("from os.path import *\n")
    (folder / "works.py").write_text("def double(x):\n    return 2 * x\n")
    (folder / "bare").mkdir()
    (tmp_path / "mr_angry").mkdir()
    (tmp_path / "mr_angry" / "__init__.py").write_text("raise ZeroDivisionError('at import')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith(("mr_user", "mr_angry"))]:
        del sys.modules[name]
    return folder


@pytest.mark.parametrize(
    "function", ["plain", "Kind", "assigned", "imported", "exists", "inside_if", "inside_else", "fast", "outer"]
)
def test_a_function_is_found_without_running_its_module(function: str, package: Path) -> None:
    assert find_function(f"mr_user.steps:{function}") is None
    assert "mr_user.steps" not in sys.modules


def test_a_star_import_may_hold_anything(package: Path) -> None:
    assert find_function("mr_user.stars:join") is None


@pytest.mark.parametrize(
    ("path", "found", "allowed"),
    [
        ("mr_user.steps:plian", "module 'mr_user.steps' has no function 'plian'", "did you mean 'plain'?"),
        ("mr_user.steps:hidden", "module 'mr_user.steps' has no function 'hidden'", "expected one of: Kind, assigned"),
        ("mr_user.step:plain", "there is no module 'mr_user.step'", "did you mean 'steps'?"),
        ("mr_user.qqqq:plain", "there is no module 'mr_user.qqqq'", "expected one of: "),
        ("mr_usre.steps:plain", "there is no module 'mr_usre'", "did you mean 'mr_user'?"),
        ("zzqqzz:plain", "there is no module 'zzqqzz'", "importable from the working folder or installed"),
        ("mr_user.broken:f", "'mr_user.broken' has a syntax error in line 1", "fix the module"),
        ("mr_user.bare:f", "'mr_user.bare' is a folder, not a module", "name a file in it"),
        ("mr_user:f", "module 'mr_user' has no function 'f'", "no value is available"),
        ("mr_angry.steps:f", "'mr_angry.steps' cannot be imported: ZeroDivisionError: at import", "fix the module"),
    ],
)
def test_what_is_not_there(path: str, found: str, allowed: str, package: Path) -> None:
    trouble = find_function(path)
    assert trouble is not None
    assert trouble[0].startswith(found)
    assert allowed in trouble[1]


def test_loading(package: Path) -> None:
    assert load_function("mr_user.works:double")(4) == 8


@pytest.mark.parametrize("path", ["mr_user.works:triple", "mr_user.nowhere:f"])
def test_loading_what_is_not_there(path: str, package: Path) -> None:
    with pytest.raises(ConfigError, match=path) as caught:
        load_function(path)
    assert "importable where the job runs" in caught.value.hint


def test_the_digest_follows_the_users_source_alone(package: Path) -> None:
    before = digest_of_module("mr_user.works:double")
    assert len(before) == 64
    (package / "works.py").write_text("def double(x):\n    return x + x\n")
    assert digest_of_module("mr_user.works:double") != before
    assert digest_of_module("train.models.tabular:build") == ""
    assert digest_of_module("zzqqzz:f") == ""


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("epoch", ["epochs", "seed"], "did you mean 'epochs'?"),
        ("zzz", ["b", "a"], "expected one of: a, b"),
        ("zzz", [], "no value is available"),
    ],
)
def test_suggestions(word: str, known: list[str], expected: str) -> None:
    assert suggestion(word, known) == expected


def test_a_suggestion_never_grows_with_what_is_known() -> None:
    assert len(suggestion("zzz", [f"column_{n}" for n in range(5000)])) < 1000
