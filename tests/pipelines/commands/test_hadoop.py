"""``millrace hadoop``: what it says where there is no cluster."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.commands.cli import app


@pytest.mark.parametrize("command", ["down", "status", "env"])
def test_there_is_no_cluster(command: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["hadoop", command, "--folder", str(tmp_path / "no ne")])
    assert done.exit_code == 4
    assert "there is no cluster" in done.stderr
    assert f"run: millrace hadoop up --folder '{tmp_path}/no ne'" in done.stderr
    assert not (tmp_path / "no ne").exists()
