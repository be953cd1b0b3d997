"""A version is tried out by the rows of its warm-up file before anybody else asks it."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from millrace.models.manifest import ModelDamaged, ModelVersion
from millrace.models.store import ModelStore
from millrace.models.warmup import FILE, Golden, encode_record
from millrace.storage import Store
from serve.servables.functions.eager import EagerFunctions
from serve.servables.functions.runtime import Call
from serve.servables.saved_model import LoadedModel
from serve.servables.servable import Arrays
from serve.servables.warmup import difference, read_golden
from tests.serve.servables.test_saved_model import rows

pytestmark = pytest.mark.tf


def write_golden(folder: Path, *pairs: tuple[str, Arrays, Arrays]) -> None:
    import tensorflow as tf

    def as_bytes(arrays: Arrays) -> dict[str, bytes]:
        return {name: tf.make_tensor_proto(values).SerializeToString() for name, values in arrays.items()}

    (folder / FILE).parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / FILE)) as writer:
        for signature, inputs, outputs in pairs:
            writer.write(encode_record(Golden(signature, as_bytes(inputs), as_bytes(outputs))))


@pytest.fixture
def exported(tiny_version: ModelVersion, tmp_path: Path) -> Path:
    """The files of `tiny`, not published yet."""
    folder = tmp_path / "exported"
    shutil.copytree(tiny_version.folder, folder)
    (folder / "model.json").unlink()
    return folder


def publish(folder: Path, version: ModelVersion, tmp_path: Path) -> ModelVersion:
    return ModelStore(Store(str(tmp_path / "store"))).publish(folder, version.manifest)


def test_right_answers_are_taken(
    exported: Path, tiny: LoadedModel, tiny_version: ModelVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = {**tiny.infer(rows(5))}
    near["probability"] = near["probability"] + np.float32(5e-5)
    near["class"] = 1 - near["class"]  # on the threshold it may be either
    write_golden(exported, ("serving_default", rows(5), near))
    seen: list[tuple[int, list[Any]]] = []
    bind = EagerFunctions.bind

    def spy(self: EagerFunctions, asked: Any, columns: Any) -> Call:
        seen.append((len(columns["city"]), sorted(set(columns["city"].tolist()))))
        return bind(self, asked, columns)

    monkeypatch.setattr(EagerFunctions, "bind", spy)
    LoadedModel.load(publish(exported, tiny_version, tmp_path), sizes=(3, 7, 3))
    assert seen == [(5, [b"", b"Oslo", b"x"]), (3, [b"", b"Oslo", b"x"]), (7, [b"", b"Oslo", b"x"])]


def test_other_answers_are_refused(
    exported: Path, tiny: LoadedModel, tiny_version: ModelVersion, tmp_path: Path
) -> None:
    answers = tiny.infer(rows(5))
    answers["probability"][3] += 0.001
    write_golden(exported, ("", rows(5), answers))
    with pytest.raises(
        ModelDamaged, match=r"not answer as it was trained: output 'probability' at \[3\] is 0\.\d+, not"
    ):
        LoadedModel.load(publish(exported, tiny_version, tmp_path))


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ([("no_such", {}, {})], 'rows of its warm-up file: Serving signature name: "no_such" not found'),
        (
            [("", {"amount": np.zeros(2, np.float32)}, {})],
            "rows of its warm-up file: input 'city' is missing",
        ),
    ],
)
def test_rows_that_do_not_fit(
    pairs: list[Any], said: str, exported: Path, tiny_version: ModelVersion, tmp_path: Path
) -> None:
    write_golden(exported, *pairs)
    with pytest.raises(ModelDamaged, match=said):
        LoadedModel.load(publish(exported, tiny_version, tmp_path))


@pytest.mark.parametrize("content", [b"no record" * 9, b"", encode_record(Golden("", {"x": b"\xff\xff"}, {}))])
def test_a_file_that_cannot_be_read(content: bytes, tmp_path: Path) -> None:
    import tensorflow as tf

    (tmp_path / FILE).parent.mkdir()
    if content.startswith(b"2"):
        with tf.io.TFRecordWriter(str(tmp_path / FILE)) as writer:
            writer.write(content)
    else:
        (tmp_path / FILE).write_bytes(content)
    if not content:
        assert read_golden(tmp_path) == []
        return
    assert read_golden(tmp_path, strict=False) == []
    with pytest.raises(ModelDamaged, match="cannot be read"):
        read_golden(tmp_path)


def test_a_model_from_elsewhere_may_ship_what_it_likes(foreign: Path, tmp_path: Path) -> None:
    folder = tmp_path / "half" / "1"
    shutil.copytree(foreign, folder)
    write_golden(folder, ("", {"x": np.array([2.0], np.float32)}, {}), ("gone", {}, {}))
    model = LoadedModel.load_foreign("half", 1, folder)
    assert model.infer({"x": np.array([2.0], np.float32)})["y"].tolist() == [3.0]


def test_differences() -> None:
    one = np.ones((2, 2), np.float32)
    assert difference({"y": one, "z": one}, {"y": one}) == ""
    assert difference({}, {"y": one}) == "there is no output 'y'"
    assert difference({"y": one[:1]}, {"y": one}) == "output 'y' has shape [1, 2], not [2, 2]"
    assert difference({"y": one * np.nan}, {"y": one}) == "output 'y' at [0, 0] is nan, not 1"
    assert difference({"y": one * 1000.05}, {"y": one * 1000}) == ""
    assert difference({"y": one * 1000.2}, {"y": one * 1000}) == "output 'y' at [0, 0] is 1000.2, not 1000"
