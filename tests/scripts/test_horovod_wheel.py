"""The wheel cache: one build for each key, complete or absent."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def script(load_script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script with a fake pip that only records its calls."""
    module = load_script("horovod_wheel")
    monkeypatch.setattr(module, "calls", [], raising=False)

    def pip(*args: str, **_: str) -> None:
        module.calls.append(args[0])
        if args[0] == "wheel":
            folder = Path(args[args.index("--wheel-dir") + 1])
            folder.mkdir()
            (folder / "horovod.whl").write_text("whole")

    monkeypatch.setattr(module, "pip", pip)
    return module


def test_the_key_contains_the_versions_of_the_build(script: ModuleType) -> None:
    key = script.key()
    assert f"horovod-{script.pinned('horovod')}" in key
    assert f"tensorflow_cpu-{script.pinned('tensorflow-cpu')}" in key
    assert "-cp3" in key


def test_a_second_run_builds_nothing(script: ModuleType) -> None:
    script.main()
    assert script.calls == ["install", "wheel", "uninstall", "install"]
    script.calls.clear()
    script.main()
    assert script.calls == ["install"]


def test_an_interrupted_build_is_not_used(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    working = script.pip

    def killed(*args: str, **_: str) -> None:
        working(*args)
        if args[0] == "wheel":
            raise KeyboardInterrupt

    monkeypatch.setattr(script, "pip", killed)
    with pytest.raises(KeyboardInterrupt):
        script.main()
    folder = script.cache_dir("wheels") / script.key()
    assert not folder.exists()

    monkeypatch.setattr(script, "pip", working)
    script.main()
    assert (folder / "horovod.whl").read_text() == "whole"
