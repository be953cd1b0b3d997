"""Models of other systems that have a state, call Python, or return numbers that JSON does not have."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serve.servables.functions.runtime import import_tensorflow
from serve.server.app import Application
from tests.serve.client import ask, error_of, predict
from tests.serve.routes.test_foreign import app_of

pytestmark = pytest.mark.tf

PREDICT, INFER = "/v1/models/uneven:predict", "/v2/models/uneven/infer"


def write(folder: Path) -> None:
    """A model whose second signature changes the variable that its first one uses, and which has two without rows."""
    tf = import_tensorflow()
    column = tf.TensorSpec((None,), tf.float32, "x")

    class Model(tf.Module):  # type: ignore[name-defined, misc] # the base has no types
        def __init__(self) -> None:
            super().__init__()
            self.weight = tf.Variable([2.0], shape=tf.TensorShape(None))

        @tf.function(input_signature=[column])
        def scale(self, x: Any) -> Any:
            return {"y": x * tf.reshape(self.weight[:1], ())}

        @tf.function(input_signature=[column])
        def set_weight(self, x: Any) -> Any:
            return {"y": tf.reshape(self.weight.assign(x), (-1,))}

        @tf.function(input_signature=[column])
        def calls_python(self, x: Any) -> Any:
            return {"y": tf.reshape(tf.numpy_function(lambda values: values, [x], tf.float32), (-1,))}

    model = Model()
    names = {"scale": model.scale, "set": model.set_weight, "python": model.calls_python}
    tf.saved_model.save(model, str(folder), names)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state") / "model"
    # In another process: the function of Python must not be known here.
    code = f"from pathlib import Path; from {__name__} import write; write(Path({str(folder)!r}))"
    subprocess.run([sys.executable, "-c", code], check=True)
    return folder


@pytest.fixture
def app(folder: Path, tmp_path: Path) -> Application:
    return app_of(folder, tmp_path)


def scaled(app: Application, value: float) -> Any:
    return predict(app, {"signature_name": "scale", "instances": [value]}, PREDICT).json()["predictions"]


@pytest.mark.case("S1")
def test_a_load_changes_no_variable(app: Application) -> None:
    assert scaled(app, 10) == [20]
    assert predict(app, {"signature_name": "set", "instances": [3]}, PREDICT).status_code == 200
    assert scaled(app, 10) == [30]


@pytest.mark.case("S3")
def test_a_graph_that_calls_python_shows_no_stack(app: Application) -> None:
    error = error_of(predict(app, {"signature_name": "python", "instances": [1]}, PREDICT), 501)
    assert "its graph calls a Python function, which a SavedModel does not contain" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("bad", ["x", "\ud800"])
def test_a_good_row_of_a_report_keeps_its_infinity(app: Application, bad: str) -> None:
    body = {"signature_name": "scale", "instances": [3e38, 1, bad], "parameters": {"on_row_error": "report"}}
    answered = predict(app, body, PREDICT)
    assert answered.status_code == 200, answered.text
    assert json.loads(answered.text)["predictions"] == [float("inf"), 2.0, None]
    assert b"[Infinity,2.0,null]" in answered.content
    body = {"signature_name": "scale", "instances": [4, 1, bad], "parameters": {"on_row_error": "report"}}
    assert b"[8.0,2.0,null]" in predict(app, body, PREDICT).content


@pytest.mark.case("S2")
@pytest.mark.parametrize("number", ["1e400", "-1e400", "1.5e99999"])
def test_a_number_beyond_double_is_refused(app: Application, number: str) -> None:
    body = f'{{"signature_name": "scale", "instances": [{number}]}}'.encode()
    assert f"{number} is too big to be stored in double" in error_of(predict(app, body, PREDICT), 400)
    tensor = f'{{"name": "x", "shape": [1], "datatype": "FP32", "data": [{number}]}}'
    body = f'{{"parameters": {{"signature_name": "scale"}}, "inputs": [{tensor}]}}'.encode()
    assert "is too big" in error_of(ask(app, "POST", INFER, content=body), 400)
    assert predict(app, b'{"signature_name": "scale", "instances": [1e308, Infinity]}', PREDICT).status_code == 200


@pytest.mark.case("S4")
def test_v2_takes_the_first_signature_where_there_is_no_default(app: Application) -> None:
    model, config = ask(app, "GET", "/v2/models/uneven"), ask(app, "GET", "/v2/models/uneven/config")
    assert [one["name"] for one in model.json()["inputs"]] == [one["name"] for one in config.json()["input"]] == ["x"]
    tensor = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}
    assert "Python function" in error_of(ask(app, "POST", INFER, json={"inputs": [tensor]}), 501), "the first by name"
    assert "serving_default" in error_of(predict(app, {"instances": [1]}, PREDICT), 400), "as TensorFlow Serving"
