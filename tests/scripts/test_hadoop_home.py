"""What set-up adds for the daemons of Hadoop."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


def test_jars_go_where_the_daemons_look_for_them(
    load_script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = load_script("hadoop_home")
    asked: list[tuple[str, Path]] = []
    monkeypatch.setattr(script, "install_jars", lambda listed, folder: asked.append((listed, folder)))
    script.main()
    assert asked == [("hadoop-jars.txt", Path(sys.prefix, "share", "hadoop"))]
