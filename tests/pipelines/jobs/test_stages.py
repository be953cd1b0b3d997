"""Running stages: what fails before Spark starts, and how a run reports it."""

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.config import load_product
from pipelines.jobs import stages
from pipelines.jobs.stages import STAGES, Request, main, print_result, run_stages
from pipelines.logs import CONTEXT
from pipelines.runs import RunRecord
from pipelines.storage import Store
from tests.pipelines.products import write_product


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, token = list(root.handlers), root.level, CONTEXT.set(None)
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    CONTEXT.reset(token)


def test_every_stage_can_be_run() -> None:
    assert set(stages._RUN) == set(STAGES)


def test_a_wrong_file_ends_the_run_with_one_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_product(tmp_path, ("  epochs: 2", "  epoch: 2"))
    code, (record,) = run_stages(STAGES, Request(path, settings=[f"store.root={tmp_path}/store"]))
    assert (code, record.stage, record.outcome, record.product) == (78, "ingest", "failed", "")
    assert "did you mean 'epochs'?" in record.reason
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "store").exists()


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    code, (record,) = run_stages(("score",), Request(tmp_path / "none.yaml"))
    assert (code, record.stage) == (78, "score")
    assert record.hint


def test_a_failure_is_kept_in_the_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "store"
    product = load_product(write_product(tmp_path), settings=[f"store.root={root}"])
    record = RunRecord(stage="train", run_id="r1", product="trips", outcome="failed", reason="why")
    stages._keep_failure(product, record)
    assert RunRecord.model_validate_json(Store(str(root)).read("runs", "trips", "r1", "train.json")) == record
    assert capsys.readouterr().err == ""


def test_a_store_that_cannot_keep_it_does_not_hide_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "store").write_text("a file, no folder")
    product = load_product(write_product(tmp_path), settings=[f"store.root={tmp_path}/store"])
    stages._keep_failure(product, RunRecord(stage="train", run_id="r1", product="trips", outcome="failed"))
    assert capsys.readouterr().err.startswith("error: file 'runs/trips/r1/train.json'")


def test_the_entry_ends_with_the_code_and_one_line_of_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["run_ingest.py", "--config", str(tmp_path / "none.yaml"), "--set", "a.b=1"])
    with pytest.raises(SystemExit) as caught:
        main("ingest")
    assert caught.value.code == 78
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    keys = {"stage", "run_id", "outcome", "version", "rows_in", "rows_out", "rejected", "filtered", "reason", "hint"}
    assert keys <= set(last)


def test_a_result_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_result({"reason": "two\nlines", "path": Path("a")})
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {"reason": "two\nlines", "path": "a"}
