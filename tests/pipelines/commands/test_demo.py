"""The demonstration's own parts; the whole of it is run in tests/e2e."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.errors import ArtifactNotFound
from millrace.features.spec import Category, Cyclic, Feature, FeatureSpec, Label, Numeric
from millrace.runs import RunRecord
from millrace.storage import Store
from pipelines.commands import demo
from pipelines.commands.demo import first_row, request_prediction, run_demo
from pipelines.jobs.stages import Request
from tests.millrace.products import write_product

SPEC = FeatureSpec(
    inputs=(
        Feature(name="city", dtype="string", nullable=True, transform=Category()),
        Feature(name="seen", dtype="timestamp", nullable=True, transform=Cyclic(period="day")),
        Feature(name="distance", dtype="float64", nullable=True, transform=Numeric()),
    ),
    label=Label(name="late", task="binary", classes=(0, 1)),
    key=("id",),
)


def test_a_row_as_a_client_would_write_it(store: Store) -> None:
    """Inputs only: neither the label nor the key is sent."""
    path = Path(store.uri("runs", "trips", "r1", "sample.parquet"))
    path.parent.mkdir(parents=True)
    seen = pa.array([datetime(2013, 1, 1, 12, tzinfo=UTC)] * 2, pa.timestamp("us", tz="UTC"))
    table = {"id": [1, 2], "city": ["Oslo", "Rome"], "seen": seen, "distance": [None, 1.5], "late": [1, 0]}
    pq.write_table(pa.table(table), path)
    row = first_row(store, "runs/trips/r1/sample.parquet", SPEC)
    assert json.loads(json.dumps(row)) == {"city": "Oslo", "seen": "2013-01-01T12:00:00+00:00", "distance": None}


def test_a_wrong_file_ends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_demo(Request(write_product(tmp_path, ("  epochs: 2", "  epoch: 2")))) == 78
    out, err = capsys.readouterr()
    assert json.loads(out)["outcome"] == "failed"
    assert "did you mean 'epochs'?" in err


def test_it_says_how_to_serve_with_the_same_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = RunRecord(stage="train", run_id="r", outcome="committed", details={"metrics": {"model": {}}})
    monkeypatch.setattr(demo, "run_stages", lambda stages, request: (0, [trained]))
    monkeypatch.setattr(demo, "request_prediction", lambda request, trained: {})
    file = tmp_path / "a b.yaml"
    assert run_demo(Request(file, "yarn", ["store.root=/x y", "train.epochs=1"])) == 0
    said = f"millrace serve '{file}' --profile yarn --set 'store.root=/x y' --set train.epochs=1\n"
    assert f"to keep the service running: {said}" in capsys.readouterr().err


def test_without_a_model_there_is_nothing_to_ask(tmp_path: Path) -> None:
    request = Request(write_product(tmp_path), settings=[f"store.root={tmp_path}/store"])
    trained = RunRecord(stage="train", run_id="r", outcome="committed", details={"sample": "x"})
    with pytest.raises(ArtifactNotFound, match="no model 'trips'"):
        request_prediction(request, trained)
