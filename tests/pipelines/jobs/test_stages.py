"""Running stages: what fails before Spark starts, and how a run reports it."""

import json
import signal
import sys
from pathlib import Path

import pytest

from millrace.config import load_product
from millrace.errors import DataRejected, InputMissing
from millrace.runs import RunRecord
from millrace.storage import Store
from pipelines.jobs import stages
from pipelines.jobs.inputs import check_inputs
from pipelines.jobs.stages import STAGES, Request, main, print_result, run_stages
from tests.millrace.products import write_product


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


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (STAGES, "there is no file"),
        (("ingest",), "there is no file"),
        (("train",), "there is no table 'trips/clean'"),
        (("score",), "there is no table 'trips/clean'"),
    ],
)
def test_an_input_that_is_not_there_is_told_before_spark_starts(
    names: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "_start_spark", lambda product: pytest.fail("Spark was started"))
    code, (record,) = run_stages(names, Request(write_product(tmp_path), settings=[f"store.root={tmp_path}/store"]))
    assert (code, record.outcome) == (4, "failed")
    assert said in record.reason


@pytest.mark.case("F9")
@pytest.mark.parametrize("names", [STAGES, ("ingest",)])
@pytest.mark.parametrize("root", ["/proc/store", "{folder}/trips.csv", "{folder}/trips.csv/below", "/dev/null"])
def test_a_store_that_cannot_be_used_is_told_before_spark_starts(
    root: str,
    names: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(stages, "_start_spark", lambda product: pytest.fail("Spark was started"))
    path, root = write_product(tmp_path), root.format(folder=tmp_path)
    for name in ("trips", "cities"):
        (tmp_path / f"{name}.csv").touch()
    code, (record,) = run_stages(names, Request(path, settings=[f"store.root={root}"]))
    assert (code, record.outcome) == (78, "failed")
    assert record.reason.startswith(f"store.root: {root} cannot be used: ")
    assert capsys.readouterr().err.count("error: ") == 1


def test_a_source_that_no_step_uses_may_be_away(tmp_path: Path) -> None:
    spare = "  spare: {path: nowhere.csv, columns: {a: int}}\n"
    product = load_product(write_product(tmp_path, ("ingest:\n", f"{spare}ingest:\n")))
    for name in ("trips", "cities"):
        (tmp_path / f"{name}.csv").touch()
    check_inputs(("ingest",), product, Store(f"{tmp_path}/store"))
    (tmp_path / "trips.csv").unlink()
    check_inputs(("ingest",), product, Store(f"{tmp_path}/store"), allow_empty=True)
    with pytest.raises(InputMissing, match="there is no file"):
        check_inputs(("ingest",), product, Store(f"{tmp_path}/store"))


def test_what_was_asked_reaches_ingest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}
    monkeypatch.setattr("ingest.stage.run", lambda *_, **options: asked.update(options))
    for options in ({}, {"full": True}, {"allow_empty": True}):
        request = Request(tmp_path / "any.yaml", **options)
        stages._ingest(stages.Job(request, *[None] * 4))  # type: ignore[arg-type]
        assert asked == {"full": False, "allow_empty": False, **options}


@pytest.mark.parametrize(
    ("number", "code", "reason"), [(signal.SIGTERM, 75, "ended by SIGTERM"), (signal.SIGINT, 130, "KeyboardInterrupt")]
)
def test_a_signal_ends_the_run_in_order(
    number: signal.Signals, code: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "check_inputs", lambda *_, **__: signal.raise_signal(number))
    before = signal.getsignal(signal.SIGTERM)
    done, (record,) = run_stages(STAGES, Request(write_product(tmp_path), settings=[f"store.root={tmp_path}/store"]))
    assert (done, record.outcome, record.reason) == (code, "interrupted", reason)
    assert Store(f"{tmp_path}/store").exists("runs", "trips", record.run_id, "ingest.json")
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_failure_is_kept_in_the_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "store"
    record = RunRecord(stage="train", run_id="r1", product="trips", outcome="failed", reason="why")
    stages._keep_failure(Store(str(root)), record)
    assert RunRecord.model_validate_json(Store(str(root)).read("runs", "trips", "r1", "train.json")) == record
    assert capsys.readouterr().err == ""


def test_a_store_that_cannot_keep_it_does_not_hide_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "store").write_text("a file, no folder")
    record = RunRecord(stage="train", run_id="r1", product="trips", outcome="failed")
    stages._keep_failure(Store(f"{tmp_path}/store"), record)
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


def test_a_failure_whose_counts_are_wrong_keeps_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(stage: str, job: object) -> RunRecord:
        error = DataRejected("the key is not unique")
        error.counts = {"rows_in": 3, "rows_out": 4}
        raise error

    monkeypatch.setattr(stages, "_run_one", fail)
    monkeypatch.setattr(stages, "_start_spark", lambda product: None)
    for name in ("trips", "cities"):
        (tmp_path / f"{name}.csv").touch()
    code, (record,) = run_stages(("ingest",), Request(write_product(tmp_path), settings=[f"store.root={tmp_path}/s"]))
    assert (code, record.reason, record.rows_out) == (3, "the key is not unique", 4)
    assert "this is a bug in millrace; please report it: ingest: 3 rows in, but 4 out" in capsys.readouterr().err
