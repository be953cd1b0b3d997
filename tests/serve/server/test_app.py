"""The application, asked as a client asks."""

import json
import math
import re
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace.config.sections.serve import Serve, ServedModel
from millrace.features.spec import Domain
from millrace.models.store import ModelStore
from millrace.storage import Store
from serve.servables.manager import ServableManager
from serve.servables.servable import Servable
from serve.servables.signatures import DATATYPES
from serve.server.app import Application
from tests.serve.client import ask, error_of, predict
from tests.serve.models import INPUTS, POISON, ROW, publish, served

pytestmark = pytest.mark.tf


def test_predicts_in_row_and_column_form(app: Application) -> None:
    rows = predict(app, {"instances": [ROW, {**ROW, "amount": 9}]}).json()["predictions"]
    columns = predict(app, {"inputs": {n: [v, 9 if n == "amount" else v] for n, v in ROW.items()}}).json()["outputs"]
    assert [row["probability"] for row in rows] == columns["probability"]
    assert [row["class"] for row in rows] == columns["class"]
    assert 0 < rows[0]["probability"] < rows[1]["probability"] < 1


def test_predicts_with_a_version(app: Application) -> None:
    body = {"instances": [ROW]}
    newest = predict(app, body).json()
    assert predict(app, body, "/v1/models/tiny/versions/2:predict").json() == newest
    assert predict(app, body, "/v1/models/tiny/versions/0:predict").json() == newest
    assert predict(app, body, "/v1/models/tiny/versions/1:predict").json() != newest


def test_other_tasks(app: Application) -> None:
    answer = predict(app, {"instances": [ROW]}, "/v1/models/kinds:predict").json()["predictions"][0]
    assert answer["class"] in ("low", "mid", "high")
    assert math.isclose(sum(answer["probabilities"]), 1, abs_tol=1e-6)
    assert len(predict(app, {"instances": [1, 2, 3]}, "/v1/models/size:predict").json()["predictions"]) == 3


def test_null_and_nan_are_missing_where_they_may_be(app: Application) -> None:
    missing = {n: None for n in ("weight", "code", "maybe", "seen", "note")}
    nans = {n: math.nan for n in ("weight", "code", "maybe", "seen")} | {"note": ""}
    answers = [predict(app, {"instances": [{**ROW, **change}]}) for change in (missing, nans)]
    assert [a.status_code for a in answers] == [200, 200]
    assert answers[0].content == answers[1].content
    for name in ("amount", "count", "flag", "city"):
        said = error_of(predict(app, {"instances": [ROW, {**ROW, name: None}]}), 400)
        assert f"element: 1 key: {name} of 'instances' list" in said
        assert "JSON Value: null Type: Null is not of expected type" in said


def test_an_answer_that_is_no_number_is_refused(app: Application) -> None:
    said = error_of(predict(app, {"instances": [ROW, {**ROW, "amount": POISON}]}), 400)
    assert said == "output 'probability' is not finite for rows 1 of the request"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/models/other:predict", 404),
        ("/v1/models/tiny/versions/9:predict", 404),
        ("/v1/models/tiny/versions/x:predict", 400),
        ("/v1/models/tiny/versions/-1:predict", 400),
        ("/v1/models/tiny/versions/99999999999999999999:predict", 400),
        ("/v1/models/tiny/versions/1.0:predict", 400),
        ("/v1/models/..%2f..%2fetc:predict", 404),
        ("/v1/models/%00:predict", 404),
        ("/v1/models/" + "x" * 5000 + ":predict", 404),
        ("/v1/models/tiny:classify", 400),
        ("/v1/models:predict", 400),
    ],
)
def test_wrong_addresses(app: Application, path: str, status: int) -> None:
    error_of(predict(app, {"instances": [ROW]}, path), status)


def test_a_method_that_a_path_does_not_take(app: Application) -> None:
    for path in ("/v1/models/tiny:predict", "/v1/models/tiny/versions/1:predict"):
        assert error_of(ask(app, "GET", path), 400) == f"Malformed request: GET {path}"
    answer = ask(app, "POST", "/v2/health/live")
    assert error_of(answer, 405) == "POST is not for this path, which takes GET, HEAD"
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert 'millrace_requests_total{route="/v2/health/live",status="405"}' in ask(app, "GET", "/metrics").text


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{", b"\xff", b'{"instances"', b"[" * 60_000, b"1" * 9_000])
def test_wrong_bodies(app: Application, body: bytes) -> None:
    error_of(predict(app, body), 400)


def test_a_body_over_the_limit(app: Application) -> None:
    error_of(predict(app, b"x" * (1024 * 1024 + 1)), 413)


def test_hostile_sizes_are_answered_shortly(app: Application) -> None:
    keys = {f"k{n}": 1 for n in range(50_000)}
    error_of(predict(app, {"instances": [keys]}), 400)
    error_of(predict(app, {"instances": [[]] * 200_000}), 400)
    error_of(predict(app, {"instances": [{**ROW, "city": ["x" * 900_000]}]}), 400)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["\ud800", "a\udfff"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.just("\ud800"), inner, max_size=3)
    ),
    max_leaves=5,
)


def refuse(token: str) -> None:
    raise AssertionError(f"the answer holds {token}")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from([*ROW, "extra", "", "\ud800"]),
    value=JSON,
    drop=st.booleans(),
    columns=st.booleans(),
    report=st.booleans(),
)
def test_no_mutation_of_one_field_is_a_server_error(
    app: Application, name: str, value: Any, drop: bool, columns: bool, report: bool
) -> None:
    row = {**ROW, name: value}
    if drop:
        del row[name]
    body: Any = {"inputs": {n: [v] for n, v in row.items()}} if columns else {"instances": [row]}
    if report:
        body["parameters"] = {"on_row_error": "report"}
    response = predict(app, body)
    if response.status_code == 200:
        json.loads(response.text, parse_constant=refuse)
    else:
        error_of(response, 400)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=JSON | st.fixed_dictionaries({"instances": JSON}) | st.fixed_dictionaries({"inputs": JSON}))
def test_no_document_is_a_server_error(app: Application, body: Any) -> None:
    error_of(predict(app, body), 400)


def test_models_and_status(app: Application) -> None:
    assert ask(app, "GET", "/v1/models").json() == {"models": ["tiny", "kinds", "size"]}
    status = ask(app, "GET", "/v1/models/tiny").json()
    assert (status["name"], status["ready"]) == ("tiny", True)
    assert status["model_version_status"][0] == {
        "version": "2",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    one = ask(app, "GET", "/v1/models/tiny/versions/2").json()["model_version_status"]
    assert [version["version"] for version in one] == ["2"]
    error_of(ask(app, "GET", "/v1/models/tiny/versions/9"), 404)
    error_of(ask(app, "GET", "/v1/models/other"), 404)


def test_metadata(app: Application) -> None:
    body = ask(app, "GET", "/v1/models/tiny/metadata").json()
    assert body["model_spec"] == {"name": "tiny", "signature_name": "", "version": "2"}
    signature = body["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["city"]["dtype"] == "DT_STRING"
    assert signature["method_name"] == "tensorflow/serving/predict"
    error_of(ask(app, "GET", "/v1/models/tiny/versions/9/metadata"), 404)


def test_health(app: Application, model_store: ModelStore) -> None:
    assert ask(app, "GET", "/v2/health/live").json() == {"live": True}
    assert ask(app, "GET", "/v2/health/ready").json() == {"ready": True}
    cold = Application(ServableManager(model_store, served("tiny")), Serve())
    assert ask(cold, "GET", "/v2/health/live").status_code == 200
    error_of(ask(cold, "GET", "/v2/health/ready"), 503)
    error_of(predict(cold, {"instances": [ROW]}), 503)
    assert ask(cold, "GET", "/v1/models/tiny").json()["ready"] is False


def test_metrics_name_routes_and_loaded_models_only(app: Application) -> None:
    predict(app, {"instances": [ROW, ROW]})
    predict(app, {"instances": [ROW]}, "/v1/models/unheard-of:predict")
    page = ask(app, "GET", "/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    assert 'millrace_batch_rows_sum{model="tiny",version="2"}' in page.text
    assert 'route="/v1/models/{name}:predict",status="404"' in page.text
    assert "unheard-of" not in page.text


def test_the_pages_for_people(app: Application) -> None:
    document = ask(app, "GET", "/openapi.json").json()
    assert "/v1/models/{name}/versions/{version}:predict" in document["paths"]
    page = ask(app, "GET", "/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "http://" not in page.text
    assert "https://" not in page.text


def test_a_damaged_version_says_why(model_store: ModelStore, tmp_path: Path) -> None:
    shutil.copytree(model_store.store.uri("models", "tiny"), tmp_path / "models" / "tiny")
    (tmp_path / "models" / "tiny" / "2" / "fingerprint.pb").write_bytes(b"x")
    manager = ServableManager(ModelStore(Store(str(tmp_path))), served("tiny"))
    manager.load()
    app = Application(manager, Serve())
    assert ask(app, "GET", "/v2/health/ready").status_code == 200
    assert predict(app, {"instances": [ROW]}).status_code == 200
    versions = ask(app, "GET", "/v1/models/tiny").json()["model_version_status"]
    assert [v["state"] for v in versions] == ["END", "AVAILABLE"]
    assert "fingerprint.pb does not have the digest" in versions[0]["status"]["error_message"]
    said = error_of(predict(app, {"instances": [ROW]}, "/v1/models/tiny/versions/2:predict"), 503)
    assert str(tmp_path) not in said


def test_an_error_inside_tensorflow_is_logged_and_told_in_general_words(
    app: Application, tiny: Servable, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(**_: Any) -> None:
        raise tiny._tf.errors.InternalError(None, None, "node at /secret/path")

    monkeypatch.setitem(tiny._functions._functions, "serving_default", broken)
    assert "secret" not in error_of(predict(app, {"instances": [ROW]}), 500)
    assert "secret" in caplog.text


@pytest.mark.parametrize("bad", [{"amount": "x"}, {"city": None}, {"amount": POISON}, {"more": 1}])
def test_one_bad_row_does_not_fail_999_good_ones(app: Application, bad: dict[str, Any]) -> None:
    rows = [{**ROW, "amount": n % 500} for n in range(1000)]
    expected = predict(app, {"instances": rows}).json()["predictions"]
    rows[700] = {**ROW, **bad}
    error_of(predict(app, {"instances": rows}), 400)
    answer = predict(app, {"instances": rows, "parameters": {"on_row_error": "report"}}).json()
    assert answer["predictions"][700] is None
    assert [error["row"] for error in answer["row_errors"]] == [700]
    assert len(answer["predictions"]) == 1000
    for number, row in enumerate(answer["predictions"]):
        if number != 700:
            assert row["probability"] == pytest.approx(expected[number]["probability"], abs=1e-6)


@pytest.fixture
def bounded(tmp_path: Path) -> ServableManager:
    """A model whose contract says what `amount` and `city` are."""
    allowed = {"amount": Domain(min=0, max=100), "city": Domain(values=("Oslo", "Rome"))}
    inputs = [f.model_copy(update={"domain": allowed[f.name]}) if f.name in allowed else f for f in INPUTS]
    store = ModelStore(Store(str(tmp_path)))
    publish(store, "tiny", "binary", tuple(inputs))
    manager = ServableManager(store, {"tiny": ServedModel(domains="enforce")})
    manager.load()
    return manager


def test_values_that_the_contract_does_not_allow(bounded: ServableManager) -> None:
    app = Application(bounded, Serve())
    assert predict(app, {"instances": [ROW]}).status_code == 200
    bad = [ROW, {**ROW, "amount": 101}, {**ROW, "city": "Paris", "amount": -1}]
    said = error_of(predict(app, {"instances": bad}), 400)
    assert "row 1: input 'amount' is 101.0, the contract of the model's data allows at least 0 and at most 100" in said
    assert "row 2: input 'city' is 'Paris', the contract of the model's data allows one of 'Oslo', 'Rome'" in said
    report = {"parameters": {"on_row_error": "report"}}
    answer = predict(app, {"instances": [*bad, {**ROW, "amount": POISON}, ROW], **report}).json()
    assert [row is None for row in answer["predictions"]] == [False, True, True, True, False]
    assert [(e["row"], e["field"]) for e in answer["row_errors"]] == [(1, "amount"), (2, "amount"), (3, "amount")]
    tensors = [
        {"name": f.name, "shape": [2], "datatype": DATATYPES[f.tensor_dtype], "data": [r[f.name] for r in bad[:2]]}
        for f in INPUTS
    ]
    error_of(predict(app, {"inputs": tensors}, "/v2/models/tiny/infer"), 400)
    reported = predict(app, {"inputs": tensors, **report}, "/v2/models/tiny/infer").json()
    assert next(t["data"] for t in reported["outputs"] if t["name"] == "row_ok") == [True, False]


def test_domains_follow_the_settings_without_a_restart(bounded: ServableManager) -> None:
    app = Application(bounded, Serve())

    def counted() -> str:
        page = ask(app, "GET", "/metrics").text
        return ", ".join(re.findall(r'outside_domain_values_total{(domain="\w+",input="\w+").*} (.*)', page)[0])

    outside = {"instances": [{**ROW, "amount": 101}]}
    assert predict(app, outside).status_code == 400
    assert counted() == 'domain="contract",input="amount", 1.0'
    bounded.configure({"tiny": ServedModel(domains="count")})
    assert predict(app, outside).status_code == 200
    assert counted() == 'domain="contract",input="amount", 2.0'
    bounded.configure({"tiny": ServedModel(domains="ignore")})
    assert predict(app, outside).status_code == 200
    assert counted() == 'domain="contract",input="amount", 2.0'


@pytest.mark.parametrize(
    ("path", "headers", "parameters"),
    [
        ("/v1/models/tiny:predict", {"X-Request-Timeout-Ms": "50"}, {}),
        ("/v1/models/tiny:predict", {"X-Envoy-Expected-Rq-Timeout-Ms": "50"}, {"on_row_error": "report"}),
        ("/v1/models/tiny:classify", {"X-Request-Timeout-Ms": "50"}, {}),
        ("/v2/models/tiny/infer", {"X-Request-Timeout-Ms": "50"}, {}),
        ("/v2/models/tiny/infer", {}, {"timeout": 50_000}),
        ("/v2/models/tiny/infer", {}, {"timeout": 50_000, "on_row_error": "report"}),
    ],
)
def test_a_client_that_waits_only_so_long(
    manager: ServableManager, tiny: Servable, monkeypatch: pytest.MonkeyPatch, path: str, headers: Any, parameters: Any
) -> None:
    app = Application(manager, Serve())  # its own: the event loop ends before the call that nobody waits for
    go, answer = threading.Event(), tiny.answer
    monkeypatch.setattr(tiny, "answer", lambda *arguments: go.wait(20) and answer(*arguments))
    tensors = [
        {"name": f.name, "shape": [1], "datatype": DATATYPES[f.tensor_dtype], "data": [ROW[f.name]]} for f in INPUTS
    ]
    rows = {"infer": {"inputs": tensors}, "predict": {"instances": [ROW]}, "classify": {"examples": [ROW]}}
    body = {**rows[re.split("[:/]", path)[-1]], **({"parameters": parameters} if parameters else {})}
    try:
        late = ask(app, "POST", path, content=json.dumps(body).encode(), headers=headers)
    finally:
        go.set()
    assert "did not answer within 0.05 s" in error_of(late, 504)


def test_the_pages_of_no_protocol(app: Application) -> None:
    assert ask(app, "GET", "/").json() == {"status": "alive"}
    assert "<html" in ask(app, "GET", "/docs").text
    for path in ("/metrics", "/monitoring/prometheus/metrics"):
        page = ask(app, "GET", path)
        assert page.headers["content-type"].startswith("text/plain; version=")
        assert 'millrace_model_loaded{digest="' in page.text
