"""``millrace data`` and ``models push|pull`` as a user types them: killed, run again, and every exit code."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from millrace.errors import ConfigError
from millrace.failpoints import ENVIRONMENT
from millrace.models.store import ModelStore
from millrace.storage import Store
from pipelines.commands.cli import app
from pipelines.commands.data import parse_size
from pipelines.commands.hints import command_line
from pipelines.hadoop.cluster import Cluster
from tests.millrace.manifests import export, manifest_of

MILLRACE = Path(sys.executable).with_name("millrace")
MIB = 1 << 20
run = CliRunner().invoke


@pytest.fixture
def profile(hdfs: Cluster, tmp_path: Path) -> str:
    """What `millrace hadoop up` writes for a machine outside, with small blocks and a store of this test's own."""
    written = yaml.safe_load((hdfs.folder / "profiles" / "outside.yaml").read_text())
    written["transfer"] |= {"block_mb": 1, "workers": 1, "root": f"/cli/{tmp_path.name}/store"}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(written))
    return str(tmp_path / "p.yaml")


def millrace(*arguments: str, fail: str = "") -> subprocess.CompletedProcess[str]:
    env = {**os.environ, ENVIRONMENT: fail}
    return subprocess.run([MILLRACE, *arguments], env=env, capture_output=True, text=True, check=False)


@pytest.mark.hdfs
def test_killed_in_the_middle_the_same_command_finishes(profile: str, tmp_path: Path) -> None:
    source, back, there = tmp_path / "big", tmp_path / "back", f"/cli/{tmp_path.name}/a b%20#?"
    source.write_bytes(os.urandom(2 * MIB + 5))
    for command in (("put", str(source), there), ("get", there, str(back))):
        arguments = ("data", *command, "--profile", profile)
        for point in ("transfer.part_done", "transfer.before_rename"):
            killed = millrace(*arguments, fail=f"{point}=kill9")
            assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, "")
        done = millrace(*arguments)
        assert (done.returncode, json.loads(done.stdout)["sent"]) == (0, 0), done.stderr
        assert "2,097,157 bytes, 0 sent" in done.stderr
        assert "Traceback" not in done.stderr
    assert back.read_bytes() == source.read_bytes()
    assert json.loads(run(app, ["data", "ls", there, "--json", "--profile", profile]).stdout)["entries"][0]["bytes"]


@pytest.mark.hdfs
def test_a_folder_listed_and_removed(profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a\x1b[31m\nb").write_text("x")
    top = f"/cli/{tmp_path.name}"
    done = run(app, ["data", "put", str(tmp_path / "in"), f"{top}/", "--profile", profile, "--workers", "2"])
    assert (done.exit_code, json.loads(done.stdout)["target"]) == (0, f"{top}/in")
    done = run(app, ["data", "ls", f"{top}/in", "--profile", profile])
    assert json.loads(done.stdout)["entries"][0]["name"] == "a\x1b[31m\nb"
    assert r"a\x1b[31m\nb" in done.stderr
    assert "\x1b[31m" not in done.stderr
    done = run(app, ["data", "rm", f"{top}/in", "--profile", profile])
    assert (done.exit_code, "was not removed: not confirmed\n  confirm with --yes\n" in done.stderr) == (5, True)
    monkeypatch.setattr("pipelines.commands.data._has_terminal", lambda: True)
    for said, code in (("n\n", 5), ("", 5), ("y\n", 0)):
        assert run(app, ["data", "rm", f"{top}/in/a\x1b[31m\nb", "--profile", profile], input=said).exit_code == code
    web = ["data", "put", str(tmp_path / "in"), f"{top}/", "--force", "--profile", profile]
    assert run(app, web).exit_code == 0
    assert run(app, ["data", "rm", "/", "--yes", "--in-store", "--profile", profile]).exit_code == 5
    done = run(app, ["data", "rm", f"{top}/in", "--yes", "--profile", profile])
    assert (done.exit_code, json.loads(done.stdout)["bytes"]) == (0, 1)
    assert run(app, ["data", "ls", f"{top}/in", "--profile", profile]).exit_code == 4


@pytest.mark.hdfs
def test_models_pushed_and_pulled(profile: str, tmp_path: Path) -> None:
    here, other = str(tmp_path / "here"), str(tmp_path / "other")
    published = ModelStore(Store(here)).publish(export(tmp_path / "e"), manifest_of("m"))
    done = run(app, ["models", "push", "m", "--store", here, "--profile", profile])
    assert (done.exit_code, json.loads(done.stdout)["outcome"]) == (0, "committed"), done.stderr
    for outcome in ("committed", "already"):
        done = run(app, ["models", "pull", "m", "--store", other, "--profile", profile])
        assert (done.exit_code, json.loads(done.stdout)["outcome"]) == (0, outcome)
    assert ModelStore(Store(other)).open("m").manifest == published.manifest
    assert run(app, ["models", "pull", "n", "--store", other, "--profile", profile]).exit_code == 4


@pytest.mark.case("F5")
@pytest.mark.parametrize("with_profile", [True, False])
def test_the_hint_for_a_model_of_another_system_is_a_whole_command(with_profile: bool, tmp_path: Path) -> None:
    """With the caller's options, so that the upload goes to the same place."""
    store, profile, url = tmp_path / "my store", tmp_path / "my profile.yaml", "http://a:1;http://b:1"
    for version in ("1", "2"):
        (store / "models" / "other" / version).mkdir(parents=True)
        (store / "models" / "other" / version / "saved_model.pb").write_bytes(b"x")
    profile.write_text(yaml.safe_dump({"transfer": {"root": "/there/"}}))
    given = ["--profile", str(profile)] if with_profile else []
    given += ["--url", url, "--workers", "2"]
    done = run(app, ["models", "push", "other", "--store", str(store), *given])
    assert done.exit_code == 5, done.stderr
    root = "/there" if with_profile else "/millrace"
    wanted = ["millrace", "data", "put", f"{store}/models/other/2", f"{root}/models/other/2"]
    said = next(line for line in done.stderr.splitlines() if "data put" in line)
    assert shlex.split(said) == [*wanted, *(given if with_profile else ["--profile", "local", *given])]
    done = run(app, ["models", "push", "other", "--store", str(store), "--url", "http://me:secret@a:1"])
    assert (done.exit_code, "secret" in done.stderr) == (78, False)


@pytest.mark.case("F5")
def test_the_hint_for_a_model_on_hdfs_has_no_command_that_would_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelStore, "is_foreign", lambda models, name, number: True)
    done = run(app, ["models", "push", "other", "--version", "1", "--store", "hdfs://nn:8020/m"])
    assert done.exit_code == 5
    assert "copy hdfs://nn:8020/m/models/other/1 to this machine and upload it with: millrace data put" in done.stderr


def test_commands_in_hints() -> None:
    said = command_line("serve", Path("a b.yaml"), profile="p", url=None, set=["x=[1, 2]", "y=1"])
    assert said == "millrace serve 'a b.yaml' --profile p --set 'x=[1, 2]' --set y=1"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["ls"], 78, "transfer.url is not set"),
        (["ls", "--url", "nn:9870"], 78, "is not an address of WebHDFS"),
        (["ls", "--url", "http://127.0.0.1:1"], 75, "http://127.0.0.1:1: '/' as user '"),
        (["put", "nowhere", "/x", "--url", "http://127.0.0.1:1"], 4, "there is no file or folder 'nowhere'"),
        (["put", "setup.cfg", "x", "--url", "http://127.0.0.1:1"], 78, "'x' is not a path in HDFS"),
        (["ls", "--workers", "x"], 2, ""),
        (["put", "a", "/b", "--workers", "0"], 2, ""),
        (["split", "nowhere"], 4, "there is no file"),
        (["split", "setup.cfg", "--chunk-size", "0"], 78, "not a size"),
        (["merge", "nowhere"], 4, "there is no manifest.json"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: list[str], code: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run(app, ["data", *arguments])
    assert (done.exit_code, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_split_and_merge(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"0123456789")
    done = run(app, ["data", "split", str(tmp_path / "x"), "--chunk-size", "4"])
    assert json.loads(done.stdout)["files"] == 3
    (tmp_path / "x.chunks" / "000001.chunk").write_bytes(b"____")
    done = run(app, ["data", "merge", str(tmp_path / "x.chunks"), "--to", str(tmp_path / "y")])
    assert (done.exit_code, "000001.chunk has changed" in done.stderr) == (3, True)


@pytest.mark.parametrize(("text", "size"), [("64MB", 64_000_000), ("1MiB", MIB), ("7", 7)])
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1", "0", "1XB"])
def test_texts_that_are_not_sizes(text: str) -> None:
    with pytest.raises(ConfigError, match="not a size"):
        parse_size(text)


def test_an_installation_without_its_packages_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("pipelines.transfer")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "hdfs", None)
    done = run(app, ["data", "ls", "--url", "http://127.0.0.1:1"])
    assert (done.exit_code, done.stderr) == (
        78,
        "error: the package hdfs is not installed\n  install millrace[transfer]\n",
    )
