"""The command line: words on stderr, one JSON object on stdout, the exit code says what to do next."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from millrace.models.store import ModelStore
from millrace.storage import Store
from pipelines.commands.cli import app
from tests.millrace.manifests import export, manifest_of
from tests.millrace.products import write_product

ROOT = Path(__file__).parents[3]
MILLRACE = Path(sys.executable).with_name("millrace")
HEAVY = ("pyspark", "tensorflow", "keras", "horovod", "great_expectations", "fastapi", "pandas")

run = CliRunner().invoke


def test_check_says_that_all_is_well(tmp_path: Path) -> None:
    path = write_product(tmp_path)
    done = run(app, ["config", "check", str(path)])
    assert (done.exit_code, done.stderr) == (0, f"{path}: no mistakes\n")
    assert json.loads(done.stdout) == {"product": "trips", "outcome": "valid"}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("  epochs: 2", "  epoch: 2"), "trips.yaml:48: train.epoch: unknown key 'epoch'; did you mean 'epochs'?"),
        (("hour > 20", "huor > 20"), "trips.yaml:25: ingest.steps.2.derive.late: unknown column 'huor'; did you mean"),
        (("tabular:build", "tabular:biuld"), "trips.yaml:47: train.model: module 'train.models.tabular' has no func"),
        (("key: [city, started]", "key: [city"), "trips.yaml:29: not YAML: while parsing a flow sequence, expected"),
    ],
)
def test_check_as_a_user_runs_it(change: tuple[str, str], line: str, tmp_path: Path) -> None:
    """A process of its own, from another folder: exit 78, one line a mistake, no engine loaded."""
    write_product(tmp_path, change)
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    command = [MILLRACE, "config", "check", "trips.yaml"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    said = [text for text in done.stderr.splitlines() if not text.startswith("import time:")]
    imported = {text.rpartition("|")[2].strip().partition(".")[0] for text in done.stderr.splitlines() if "|" in text}
    assert done.returncode == 78, done.stderr
    assert said[0].startswith(f"error: {line}")
    assert "Traceback" not in done.stderr
    assert "pydantic" in imported
    assert not imported & set(HEAVY)


@pytest.mark.case("F8")
def test_check_reports_mistakes_as_json(tmp_path: Path) -> None:
    path = write_product(tmp_path, ("  epochs: 2", "  epoch: 2"))
    done = run(app, ["config", "check", str(path)])
    found = json.loads(done.stdout)
    assert (done.exit_code, found["outcome"]) == (78, "invalid")
    (problem,) = found["problems"]
    assert problem == {
        "where": f"{path}:48",
        "key": "train.epoch",
        "found": "unknown key 'epoch'",
        "allowed": "did you mean 'epochs'?",
    }


@pytest.mark.case("F8")
def test_a_setting_of_a_section_that_does_not_exist(tmp_path: Path) -> None:
    done = run(app, ["config", "check", str(write_product(tmp_path)), "--set", "trian.epochs=3"])
    assert done.stderr == "error: --set trian.epochs: trian: unknown key 'trian'; did you mean 'train'?\n"


def test_a_setting_that_is_wrong(tmp_path: Path) -> None:
    done = run(app, ["config", "check", str(write_product(tmp_path)), "--set", "train.epoch=3"])
    assert done.exit_code == 78
    assert done.stderr == "error: --set train.epoch: train.epoch: unknown key 'epoch'; did you mean 'epochs'?\n"


def test_schema_is_a_json_schema() -> None:
    done = run(app, ["config", "schema"])
    schema = json.loads(done.stdout)
    assert done.exit_code == 0
    assert {"product", "sources", "ingest", "contract", "features", "train"} == set(schema["required"])


@pytest.mark.parametrize("command", ["run", "ingest", "train", "score", "serve", "demo", "models", "tables", "config"])
def test_every_command_has_help(command: str) -> None:
    done = run(app, [command, "--help"])
    assert done.exit_code == 0
    assert f" {command} " in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [["nothing"], ["ingest"], ["ingest", "a.yaml", "--nothing"], ["score", "a.yaml", "--model-version", "x"]],
)
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    assert run(app, arguments).exit_code == 2


@pytest.mark.parametrize("stage", ["ingest", "train", "score", "run"])
def test_a_stage_tells_a_wrong_file_before_spark_starts(stage: str, tmp_path: Path) -> None:
    path = write_product(tmp_path, ("  epochs: 2", "  epoch: 2"))
    done = subprocess.run([MILLRACE, stage, path], cwd=tmp_path, capture_output=True, text=True, check=False)
    result = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 78
    assert (result["stage"], result["outcome"]) == (stage, "failed")
    assert "did you mean 'epochs'?" in result["reason"]
    assert "Spark" not in done.stderr


def test_models(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    ModelStore(store).publish(export(tmp_path / "e"), manifest_of("m"))
    done = run(app, ["models", "list", "--store", str(tmp_path)])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["models"][0]["versions"] == [1]
    done = run(app, ["models", "show", "m", "--version", "1", "--store", str(tmp_path)])
    assert json.loads(done.stdout)["name"] == "m"


@pytest.mark.parametrize(
    "arguments", [["models", "show", "m"], ["tables", "show", "p/clean"], ["models", "show", "../m"]]
)
def test_what_the_store_does_not_hold_is_4(arguments: list[str], tmp_path: Path) -> None:
    done = run(app, [*arguments, "--store", str(tmp_path)])
    assert done.exit_code == 4
    assert done.stderr.startswith("error: there is no ")
    assert done.stdout == ""


def test_a_store_of_another_scheme_is_78() -> None:
    done = run(app, ["models", "list", "--store", "s3://bucket"])
    assert (done.exit_code, done.stdout) == (78, "")


def test_the_help_of_serve_lists_every_setting() -> None:
    from millrace.config.sections.serve import Serve

    said = run(app, ["serve", "--help"]).stdout
    for name, field in Serve.model_fields.items():
        assert re.search(rf"^ *{name} +[│|]", said, re.MULTILINE), name
        assert field.description
    assert "infer_deadline_s" in said
    assert "504" in said
