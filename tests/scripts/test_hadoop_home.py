"""The jars that set-up installs for the Hadoop daemons."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


def test_jars_go_into_the_folder_of_the_daemons(
    load_script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = load_script("hadoop_home")
    calls: list[tuple[str, Path]] = []
    monkeypatch.setattr(script, "install_jars", lambda listed, folder: calls.append((listed, folder)))
    script.main()
    assert calls == [("hadoop-jars.txt", Path(sys.prefix, "share", "hadoop"))]
