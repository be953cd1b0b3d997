"""Signatures read from a graph."""

from pathlib import Path

import pytest

from serve.errors import InvalidRequest, UnknownSignature
from serve.servables.servable import Servable
from serve.servables.signatures import CLASSIFY, PREDICT, TensorInfo, find_signature, read_signatures
from tests.serve.foreign import ECHOED
from tests.serve.models import INPUTS
from tests.serve.signatures import ours

pytestmark = pytest.mark.tf


def test_reads_names_dtypes_and_shapes(foreign: Path) -> None:
    found = read_signatures(foreign)
    assert list(found) == ["classify_x_to_y", "double", "echo", "regress_x_to_y", "serving_default"]
    assert [found[name].method for name in ("classify_x_to_y", "echo")] == [CLASSIFY, PREDICT]
    assert found["serving_default"].inputs["x"].shape is None
    for dtype, shape in ECHOED.items():
        assert (found["echo"].inputs[f"{dtype}_in"].dtype, found["echo"].inputs[f"{dtype}_in"].shape) == (dtype, shape)
    assert not found["echo"].is_batched  # one input is a scalar
    assert not found["serving_default"].is_batched
    assert found["classify_x_to_y"].is_batched


def test_knows_what_inputs_of_ours_mean(tiny: Servable) -> None:
    found = read_signatures(tiny.origin.folder, tiny.spec)["serving_default"]
    assert [info.feature for info in found.inputs.values()] == sorted(INPUTS, key=lambda f: f.name)
    assert found.is_batched
    assert found.definition["inputs"]["amount"]["dtype"] == "DT_FLOAT"


def test_shapes_that_fit() -> None:
    info = TensorInfo("x", "float32", (-1, 3))
    assert [info.takes(shape) for shape in ((5, 3), (0, 3), (5, 2), (3,), (5, 3, 1), ())] == [True, True, *[False] * 4]
    assert TensorInfo("x", "float32", None).takes((1, 2, 3))
    assert TensorInfo("x", "float32", ()).takes(())


def test_names_that_are_not_there() -> None:
    with pytest.raises(UnknownSignature, match="the model has serving_default"):
        find_signature(ours(), "other")
    with pytest.raises(InvalidRequest, match="the model has no output 'clas'"):
        ours()["serving_default"].wanted(["clas"])
    assert ours()["serving_default"].wanted(["class"]) == ["class"]


def test_what_is_no_saved_model(tmp_path: Path) -> None:
    for content, said in ((b"\xff" * 50, "is not a SavedModel"), (b"", "no graph with the tag 'serve'")):
        (tmp_path / "saved_model.pb").write_bytes(content)
        with pytest.raises(ValueError, match=said):
            read_signatures(tmp_path)
