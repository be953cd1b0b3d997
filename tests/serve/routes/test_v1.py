"""The routes of TensorFlow Serving and KServe's version 1, asked as their clients ask.

Cases that stand in TensorFlow Serving's ``model_servers/http_rest_api_handler_test.cc`` name the test there.
"""

import contextlib
import gzip
import json
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from millrace.config.sections.serve import Serve, ServedModel
from millrace.models.store import ModelStore
from millrace.storage import Store
from serve.servables.manager import ServableManager
from serve.server.app import Application
from tests.serve.client import ask, error_of, listening, predict
from tests.serve.models import POISON, ROW

pytestmark = pytest.mark.tf

HALF = "/v1/models/half_plus_two"
UINT64_MAX = 2**64 - 1


@pytest.fixture(scope="module")
def half(foreign: Path, tmp_path_factory: pytest.TempPathFactory) -> Application:
    """TensorFlow Serving's test model, as version 123, with the label `stable`."""
    folder = tmp_path_factory.mktemp("half") / "models" / "half_plus_two"
    folder.mkdir(parents=True)
    (folder / "123").symlink_to(foreign)
    models = {"half_plus_two": ServedModel(allow_foreign=True, labels={"stable": 123})}
    manager = ServableManager(ModelStore(Store(str(folder.parent.parent))), models)
    manager.load()
    return Application(manager, Serve(max_body_mb=1))


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        # UnsupportedApiCalls; "GET /v1/models" is KServe's list here.
        ("GET", "/v1/foo", "Malformed request: GET /v1/foo"),
        ("POST", "/v1/foo", "Malformed request: POST /v1/foo"),
        ("POST", "/v1/models", "Malformed request"),
        ("GET", "/v1/models/foo:predict", "Malformed request"),
        ("GET", "/v1/models/foo/version/50:predict", "Malformed request"),
        ("POST", "/v1/models/foo/version/50:regress", "Malformed request"),
        ("POST", "/v1/models/foo/versions/HELLO:regress", "Failed to convert version"),
        ("POST", f"/v1/models/foo/versions/{UINT64_MAX}:regress", "Failed to convert version"),
        ("DELETE", "/v1/models/half_plus_two", "Malformed request: DELETE"),
    ],
)
def test_unsupported_calls(half: Application, method: str, path: str, said: str) -> None:
    assert said in error_of(ask(half, method, path), 400)


@pytest.mark.parametrize("path", ["/v1/models/foo:predict", "/v1/models/foo/versions/50:predict", f"{HALF}99:predict"])
def test_models_that_are_not_there(half: Application, path: str) -> None:
    """PredictModelNameVersionErrors."""
    assert "Servable not found for request" in error_of(predict(half, {"instances": [1]}, path), 404)
    said = error_of(predict(half, {"instances": [1]}, f"{HALF}/versions/99:predict"), 404)
    assert said == "Servable not found for request: Specific(half_plus_two, 99)"


def test_requests_that_do_not_fit(half: Application) -> None:
    """PredictRequestErrors; the model there takes no whole numbers as floats, which the documentation allows."""
    assert "JSON Parse error: The document is empty" in error_of(predict(half, b"", f"{HALF}:predict"), 400)
    assert "JSON Parse error: Invalid value" in error_of(predict(half, b"instances = [1, 2]", f"{HALF}:predict"), 400)
    assert "not of expected type: float" in error_of(predict(half, {"instances": ["1"]}, f"{HALF}:predict"), 400)


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        # Predict
        (":predict", {"instances": [[1.0, 2.0], [3.0, 4.0]]}, {"predictions": [[2.5, 3.0], [3.5, 4.0]]}),
        ("/versions/123:predict", {"instances": [1.0, 2.0]}, {"predictions": [2.5, 3.0]}),
        (
            "/versions/123:predict",
            {"signature_name": "serving_default", "instances": [3.0, 4.0]},
            {"predictions": [3.5, 4.0]},
        ),
        (
            "/versions/123:predict",
            {"signature_name": "serving_default", "inputs": [3.0, 4.0]},
            {"outputs": [3.5, 4.0]},
        ),
        # Regress
        (":regress", {"signature_name": "regress_x_to_y", "examples": [{"x": 80.0}]}, {"results": [42]}),
        ("/versions/123:regress", {"signature_name": "regress_x_to_y", "examples": [{"x": 80.0}]}, {"results": [42]}),
        # Classify
        (":classify", {"signature_name": "classify_x_to_y", "examples": [{"x": 20.0}]}, {"results": [[["", 12]]]}),
        (
            "/versions/123:classify",
            {"signature_name": "classify_x_to_y", "examples": [{"x": 10.0}]},
            {"results": [[["", 7]]]},
        ),
        # What no test there names: labels, version 0, paths in other case, a scalar, numbers that are none.
        ("/labels/stable:predict", {"instances": [1.0]}, {"predictions": [2.5]}),
        ("/versions/0:predict", {"instances": [1.0]}, {"predictions": [2.5]}),
        ("/Versions/123:PREDICT", {"instances": [1.0]}, {"predictions": [2.5]}),
        (":predict", {"inputs": 1.0}, {"outputs": 2.5}),
    ],
)
def test_answers(half: Application, path: str, body: Any, answer: Any) -> None:
    response = predict(half, body, HALF + path)
    assert response.headers["content-type"] == "application/json"
    assert response.json() == answer


def test_numbers_that_are_none_pass_both_ways(half: Application) -> None:
    response = predict(half, b'{"instances": [NaN, Infinity, 2]}', f"{HALF}:predict")
    assert response.text == '{"predictions":[NaN,Infinity,3.0]}'


def test_labels_and_signatures_that_are_not_there(half: Application) -> None:
    said = error_of(predict(half, {"instances": [1]}, f"{HALF}/labels/canary:predict"), 400)
    assert said == "Unrecognized servable version label: canary"
    said = error_of(predict(half, {"signature_name": "x", "instances": [1]}, f"{HALF}:predict"), 400)
    assert said.startswith('Serving signature name: "x" not found in signature def')
    said = error_of(predict(half, {"examples": [{"x": 1.0}]}, f"{HALF}:classify"), 400)
    assert said.startswith("Expected classify signature method_name to be tensorflow/serving/classify")
    echo = {"signature_name": "echo", "inputs": {f"{name}_in": [1] for name in ("uint16", "bool")}}
    error_of(predict(half, echo, f"{HALF}:predict"), 400)


def test_status(half: Application) -> None:
    """GetStatus, with KServe's fields beside it."""
    one = [{"version": "123", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}]
    for path in (HALF, f"{HALF}/versions/123", f"{HALF}/labels/stable", HALF.replace("models", "MODELS")):
        answer = ask(half, "GET", path).json()
        assert answer == {"name": "half_plus_two", "ready": True, "model_version_status": one}
    assert error_of(ask(half, "GET", f"{HALF}/versions/9"), 404) == "Could not find version 9 of model half_plus_two"
    assert error_of(ask(half, "GET", "/v1/models/foo"), 404) == "Model with name foo does not exist."


def test_metadata(half: Application) -> None:
    """GetModelMetadata."""
    for path in (f"{HALF}/metadata", f"{HALF}/versions/123/metadata", f"{HALF}/labels/stable/metadata"):
        answer = ask(half, "GET", path).json()
        assert answer["model_spec"] == {"name": "half_plus_two", "signature_name": "", "version": "123"}
        found = answer["metadata"]["signature_def"]["signature_def"]
        assert found["regress_x_to_y"]["method_name"] == "tensorflow/serving/regress"
        assert found["serving_default"]["inputs"]["x"]["tensor_shape"]["unknown_rank"] is True
    error_of(ask(half, "GET", "/v1/models/foo/metadata"), 404)


def test_a_model_of_ours_classifies_and_regresses(app: Application) -> None:
    classified = predict(app, {"examples": [ROW]}, "/v1/models/kinds:classify").json()["results"]
    answered = predict(app, {"instances": [ROW]}, "/v1/models/kinds:predict").json()["predictions"][0]
    assert classified[0][0][0] == answered["class"]
    assert [score for _, score in classified[0]] == sorted(answered["probabilities"], reverse=True)
    amount = {"examples": [{"amount": 1.5}, {"amount": 2}]}
    regressed = predict(app, amount, "/v1/models/size:regress").json()["results"]
    assert regressed == predict(app, {"instances": [1.5, 2]}, "/v1/models/size:predict").json()["predictions"]
    assert "predicts a number" in error_of(predict(app, amount, "/v1/models/size:classify"), 400)


def test_a_bad_example_fails_itself_alone_if_the_client_asks(app: Application, half: Application) -> None:
    report = {"parameters": {"on_row_error": "report"}}
    good = predict(app, {"examples": [ROW]}, "/v1/models/kinds:classify").json()["results"][0]
    mixed = {"examples": [ROW, {**ROW, "city": 5}, 7, ROW, {**ROW, "amount": POISON}], **report}
    answer = predict(app, mixed, "/v1/models/kinds:classify").json()
    assert [result and result[0][0] for result in answer["results"]] == [good[0][0], None, None, good[0][0], None]
    assert [(e["row"], e["field"]) for e in answer["row_errors"]] == [(1, "city"), (2, ""), (4, "probabilities")]
    error_of(predict(app, {**mixed, "parameters": {"on_row_error": "fail"}}, "/v1/models/kinds:classify"), 400)
    amounts = {"examples": [{"amount": "x"}, {"amount": 2}, {}], **report}
    answer = predict(app, amounts, "/v1/models/size:regress").json()
    assert [type(result) for result in answer["results"]] == [type(None), float, type(None)]
    assert answer["results"][1:2] == predict(app, {"instances": [2]}, "/v1/models/size:predict").json()["predictions"]
    nothing = predict(app, {"examples": [7, {"amount": []}], **report}, "/v1/models/size:regress").json()
    assert nothing["results"] == [None, None]
    theirs = {"signature_name": "classify_x_to_y", "examples": [{"x": 20.0}, {"x": [1, "a"]}], **report}
    answer = predict(half, theirs, f"{HALF}:classify").json()
    assert answer["results"] == [[["", 12]], None]
    assert answer["row_errors"][0]["field"] == "x"


def test_kserve_asks_whether_the_server_lives_and_what_it_has(app: Application) -> None:
    assert ask(app, "GET", "/").json() == {"status": "alive"}
    assert ask(app, "GET", "/v1/models").json() == {"models": ["tiny", "kinds", "size"]}
    assert ask(app, "GET", "/v1/models/tiny").json()["ready"] is True
    assert error_of(predict(app, {"instances": [ROW]}, "/v1/models/tiny:explain"), 501)
    error_of(predict(app, {"instances": [ROW]}, "/v1/models/none:explain"), 404)


def test_a_compressed_request_is_answered_as_any(half: Application) -> None:
    body = gzip.compress(json.dumps({"instances": [1.0]}).encode())
    answer = ask(half, "POST", f"{HALF}:predict", content=body, headers={"Content-Encoding": "gzip"})
    assert answer.json() == {"predictions": [2.5]}


CAPTURED = [
    (HALF + ":predict", b'{"instances":[[1.0,2.0]]}', b'{"predictions":[[2.5,3.0]]}'),
    (HALF + ":predict", b'{"inputs":{"x":[1]}}', b'{"outputs":[2.5]}'),
    (HALF + ":predict", b'{"inputs":[NaN]}', b'{"outputs":[NaN]}'),
    (
        HALF + ":classify",
        b'{"signature_name":"classify_x_to_y","examples":[{"x":20.0},{"x":1.0}]}',
        b'{"results":[[["",12.0]],[["",2.5]]]}',
    ),
    (HALF + ":predict", b'{"instances":[]}', b'{"error":"JSON Value: [] No values in \'instances\' array"}'),
]


@pytest.mark.parametrize(("path", "sent", "answered"), CAPTURED)
def test_captured_bytes(half: Application, path: str, sent: bytes, answered: bytes) -> None:
    assert predict(half, sent, path).content == answered


@pytest.mark.case("S6")
def test_letters_of_a_path_may_be_upper_case(half: Application) -> None:
    for path in ("/V1/Models/half_plus_two", "/v1/MODELS/half_plus_two/Versions/123", f"{HALF}/LABELS/stable"):
        assert ask(half, "GET", path).json()["model_version_status"][0]["state"] == "AVAILABLE"
    assert "signature_def" in ask(half, "GET", "/V1/MODELS/half_plus_two/METADATA").json()["metadata"]
    assert predict(half, {"instances": [1.0]}, "/V1/models/half_plus_two:Predict").json() == {"predictions": [2.5]}
    assert ask(half, "GET", "/v1/models/HALF_plus_two").status_code == 404, "names are names"


@pytest.mark.case("S6")
def test_a_version_may_be_any_int64(foreign: Path, tmp_path: Path) -> None:
    number = 2**63 - 1
    (tmp_path / "models" / "half").mkdir(parents=True)
    (tmp_path / "models" / "half" / str(number)).symlink_to(foreign)
    (tmp_path / "models" / "half" / str(number + 1)).symlink_to(foreign)
    manager = ServableManager(ModelStore(Store(str(tmp_path))), {"half": ServedModel(allow_foreign=True)})
    manager.load()
    app = Application(manager, Serve())
    path = f"/v1/models/half/versions/{number}"
    assert [v["version"] for v in ask(app, "GET", path).json()["model_version_status"]] == [str(number)]
    assert predict(app, {"instances": [1.0]}, f"{path}:predict").json() == {"predictions": [2.5]}
    assert ask(app, "GET", "/v1/models/half").json()["model_version_status"][0]["version"] == str(number)
    assert ask(app, "GET", f"/v2/models/half/versions/{number}/ready").status_code == 200
    error_of(ask(app, "GET", f"/v1/models/half/versions/{number + 1}"), 400)


@pytest.mark.case("B21")
def test_slow_bodies_take_no_ones_place(manager: ServableManager) -> None:
    """Two clients that send their bodies slowly, a latency target, and room for two requests."""
    app = Application(manager, Serve(latency_target_s=0.05, max_requests=2))
    head = b"POST /v1/models/tiny:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"
    with (
        listening(app) as address,
        contextlib.ExitStack() as stack,
        httpx.Client(base_url=f"http://{address}") as client,
    ):
        host, port = address.split(":")
        for _ in range(2):
            slow = stack.enter_context(socket.create_connection((host, int(port))))
            slow.sendall(head)
        end = time.monotonic() + 10
        while app.service.admission.arriving.count < 2 and time.monotonic() < end:
            time.sleep(0.01)
        assert (app.service.admission.arriving.count, app.service.admission.inside) == (2, 0)
        time.sleep(0.1)  # longer than the target
        answers = [client.post("/v1/models/tiny:predict", json={"instances": [ROW]}).status_code for _ in range(30)]
    assert answers == [200] * 30
