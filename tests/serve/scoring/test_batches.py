"""What a scoring worker does, without Spark."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.models.manifest import ModelDamaged, ModelVersion
from millrace.tables.rows import RowRange
from serve.scoring import batches
from serve.scoring.batches import Job, RowSlice, Written, run_task, run_tasks
from serve.scoring.predictions import CONSTANTS
from tests.serve.models import POISON
from tests.serve.tables import make_rows

pytestmark = pytest.mark.tf

TYPES = {
    "amount": pa.float32(),
    "weight": pa.float64(),
    "count": pa.int32(),
    "code": pa.int64(),
    "seen": pa.timestamp("us", "UTC"),
}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A file as the clean table has it: the partition column is not in it."""
    names = [name for name in rows[0] if name != "split"]
    columns = {name: pa.array([row[name] for row in rows], TYPES.get(name)) for name in names}
    pq.write_table(pa.table(columns), path, row_group_size=100, write_page_checksum=True)
    return path


def job_of(version: ModelVersion, tmp_path: Path, *pieces: RowSlice) -> Job:
    outputs = [("probability", pa.float32()), ("class", pa.int64()), ("error", pa.string())]
    schema = pa.schema([("id", pa.int64()), ("split", pa.string()), *outputs, *CONSTANTS.items()])
    return Job(
        model=version.uri,
        digest=version.manifest.digest,
        threads=1,
        tasks=(pieces,),
        keys=("id",),
        schema=schema,
        constants={"model_version": 2, "model_digest": version.manifest.digest, "table_version": 5},
        folder=str(tmp_path / "out"),
        run="run",
    )


def test_scores_exactly_the_rows_of_its_pieces(tiny_version: ModelVersion, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.parquet", make_rows(450))
    pieces = (RowSlice(RowRange(str(path), 50, 250), "train"), RowSlice(RowRange(str(path), 400, 450), None))
    done = run_task(job_of(tiny_version, tmp_path, *pieces), 0)
    assert (done.rows, done.rejected, done.size) == (250, 0, Path(done.path).stat().st_size)
    table = pq.read_table(done.path)
    assert table["id"].to_pylist() == [*range(50, 250), *range(400, 450)]
    assert table["split"].to_pylist() == ["train"] * 200 + [None] * 50
    assert set(table["table_version"].to_pylist()) == {5}
    assert table["error"].null_count == 250
    assert np.isfinite(table["probability"].to_numpy()).all()


def test_a_row_without_an_answer_keeps_its_key_and_a_reason(tiny_version: ModelVersion, tmp_path: Path) -> None:
    rows = make_rows(20)
    rows[3]["amount"] = POISON
    rows[5]["city"] = None
    rows[7]["flag"] = None
    rows[7]["count"] = None
    path = write(tmp_path / "rows.parquet", rows)
    done = run_task(job_of(tiny_version, tmp_path, RowSlice(RowRange(str(path), 0, 20), "test")), 0)
    assert (done.rows, done.rejected) == (20, 3)
    found = pq.read_table(done.path).to_pylist()
    assert {row["id"]: row["error"] for row in found if row["error"]} == {
        3: "probability is not finite",
        5: "city is missing",
        7: "count is missing",
    }
    assert [row["id"] for row in found if row["probability"] is None] == [3, 5, 7]
    assert [row["id"] for row in found if row["class"] is None] == [3, 5, 7]


def test_damage_is_told_not_raised(tiny_version: ModelVersion, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.parquet", make_rows(200))
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    job = job_of(tiny_version, tmp_path, RowSlice(RowRange(str(path), 0, 200), "train"))
    numbers = pa.RecordBatch.from_pydict({"id": [0]})
    (answer,) = run_tasks(job, [numbers])
    done = Written(**answer.to_pylist()[0])
    assert "rows.parquet: damaged or unreadable" in done.failure
    assert (done.rows, done.kind) == (0, "DataRejected")
    assert list((tmp_path / "out").iterdir()) == []


def test_what_another_attempt_does_not_mend_is_told_by_its_kind(
    tiny_version: ModelVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: str, *_: object) -> None:
        raise PermissionError(None, "user=stranger", path)

    monkeypatch.setattr(batches, "_write", refused)
    path = write(tmp_path / "rows.parquet", make_rows(200))
    job = job_of(tiny_version, tmp_path, RowSlice(RowRange(str(path), 0, 200), "train"))
    (answer,) = run_tasks(job, [pa.RecordBatch.from_pydict({"id": [0]})])
    done = Written(**answer.to_pylist()[0])
    assert (done.rows, done.kind) == (0, "ConfigError")
    assert "user=stranger" in done.failure


def test_another_model_in_the_folder_is_refused(tiny_version: ModelVersion) -> None:
    batches.cached_servable.cache_clear()
    with pytest.raises(ModelDamaged, match="replaced"):
        batches.cached_servable(tiny_version.uri, "0" * 64, 1)


def test_a_worker_loads_a_model_once(tiny_version: ModelVersion) -> None:
    arguments = (tiny_version.uri, tiny_version.manifest.digest, 1)
    assert batches.cached_servable(*arguments) is batches.cached_servable(*arguments)


def test_one_value_per_class_becomes_a_list() -> None:
    values = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)
    made = batches._output(values, np.array([False, True]))
    assert made.to_pylist() == [[0.25, 0.75], None]
    assert batches._output(values, np.array([False, False])).type == pa.list_(pa.float32())
