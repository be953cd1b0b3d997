"""Variables in Hadoop's files: filled in as Hadoop itself would."""

import sys
from pathlib import Path

import pytest

from pipelines.hadoop.conf import fill, main, render_conf
from pipelines.hadoop.service import CONF


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("${env.PORT:-8020}", "9000"),
        ("${env.OTHER:-8020}", "8020"),
        ("${env.OTHER:-}", ""),
        ("${env.OTHER}", "${env.OTHER}"),
        ("a${env.PORT}b${env.HOST:-h}", "a9000bh"),
        ("${hadoop.tmp.dir}", "${hadoop.tmp.dir}"),
    ],
)
def test_fill(text: str, filled: str) -> None:
    assert fill(text, {"PORT": "9000"}) == filled


def test_the_shipped_files_hold_no_variable_once_they_are_rendered(tmp_path: Path) -> None:
    render_conf(CONF, tmp_path / "conf", {})
    names = {path.name for path in (tmp_path / "conf").iterdir()}
    assert {"core-site.xml", "hdfs-site.xml", "yarn-site.xml", "capacity-scheduler.xml"} <= names
    for path in (tmp_path / "conf").glob("*.xml"):
        text = path.read_text()
        assert "<value>" in text
        assert "<value>${env" not in text


def test_the_command_of_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAMENODE_HOST", "nn")
    monkeypatch.setattr(sys, "argv", ["conf", str(tmp_path / "conf")])
    main()
    assert "<value>hdfs://nn:8020</value>" in (tmp_path / "conf" / "core-site.xml").read_text()
    monkeypatch.setattr(sys, "argv", ["conf"])
    with pytest.raises(SystemExit, match="usage: conf FOLDER"):
        main()
