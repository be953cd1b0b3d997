"""Pinned versions and the cache folder."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

LoadScript = Callable[[str], ModuleType]


def test_a_pin_is_read_from_the_constraints(load_script: LoadScript) -> None:
    assert load_script("pins").pinned("horovod") == "0.28.1"


def test_an_unpinned_package_is_named(load_script: LoadScript) -> None:
    with pytest.raises(SystemExit, match="does not pin no-such-package"):
        load_script("pins").pinned("no-such-package")


def test_environment_variables_set_the_cache_folder(
    load_script: LoadScript, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pins = load_script("pins")
    assert pins.cache_dir("jars") == tmp_path / "cache" / "jars"
    monkeypatch.delenv("MILLRACE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert pins.cache_dir("jars") == tmp_path / "millrace" / "jars"
