"""The routes of the Open Inference Protocol, asked as its clients ask."""

import base64
import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace.config.sections.serve import Serve, ServedModel
from millrace.models.store import ModelStore
from millrace.storage import Store
from serve.servables.manager import ServableManager
from serve.servables.signatures import DATATYPES
from serve.server.app import Application
from serve.values.tensors import dtype_of, encode_binary
from tests.serve.client import ask, error_of, predict
from tests.serve.foreign import ECHOED
from tests.serve.models import INPUTS, POISON, ROW, served
from tests.serve.values.test_tensors import array_of

pytestmark = pytest.mark.tf

LENGTH = "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def half(foreign: Path, tmp_path_factory: pytest.TempPathFactory) -> Application:
    """The model from elsewhere, as `half`."""
    folder = tmp_path_factory.mktemp("half") / "models" / "half"
    folder.mkdir(parents=True)
    (folder / "1").symlink_to(foreign)
    manager = ServableManager(ModelStore(Store(str(folder.parent.parent))), {"half": ServedModel(allow_foreign=True)})
    manager.load()
    return Application(manager, Serve())


def row_inputs(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": f.name, "shape": [len(rows)], "datatype": DATATYPES[f.tensor_dtype], "data": [r[f.name] for r in rows]}
        for f in INPUTS
    ]


def infer(app: Application, body: Any, path: str = "/v2/models/tiny/infer", **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ask(app, "POST", path, content=content, headers=headers)


def test_answers_as_the_other_protocol_does(app: Application) -> None:
    rows = [ROW, {**ROW, "amount": 9}]
    answer = infer(app, {"id": "mine", "inputs": row_inputs(*rows)}).json()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("tiny", "2", "mine")
    found = {output["name"]: output["data"] for output in answer["outputs"]}
    predictions = predict(app, {"instances": rows}).json()["predictions"]
    assert found == {name: [row[name] for row in predictions] for name in ("class", "probability")}
    older = infer(app, {"inputs": row_inputs(*rows)}, "/v2/models/tiny/versions/1/infer").json()
    assert older["model_version"] == "1"
    assert older["outputs"] != answer["outputs"]


@pytest.mark.parametrize("compress", [None, gzip.compress, zlib.compress])
def test_every_dtype_both_ways_in_bytes(half: Application, compress: Any) -> None:
    values = {d: array_of(d, tuple(2 if size == -1 else size for size in shape)) for d, shape in ECHOED.items()}
    blobs = {dtype: encode_binary(array) for dtype, array in values.items()}
    inputs = [
        {
            "name": f"{dtype}_in",
            "shape": list(array.shape),
            "datatype": DATATYPES[dtype],
            "parameters": {"binary_data_size": len(blobs[dtype])},
        }
        for dtype, array in values.items()
    ]
    document = {"inputs": inputs, "parameters": {"signature_name": "echo", "binary_data_output": True}}
    header = json.dumps(document).encode()
    body = b"".join([header, *blobs.values()])
    headers = {LENGTH: str(len(header))}
    if compress:
        body = compress(body)
        headers["Content-Encoding"] = "gzip" if compress is gzip.compress else "deflate"
    response = infer(half, body, "/v2/models/half/infer", **headers)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/octet-stream"
    position = int(response.headers[LENGTH])
    for output in json.loads(response.content[:position])["outputs"]:
        size = output["parameters"]["binary_data_size"]
        assert output["datatype"] == DATATYPES[dtype_of(values[output["name"]])]
        assert response.content[position : position + size] == blobs[output["name"]]
        position += size
    assert position == len(response.content)


def test_bad_rows_beside_good_ones(app: Application) -> None:
    inputs = row_inputs(ROW, {**ROW, "city": 5}, {**ROW, "amount": POISON}, {**ROW, "amount": 9})
    asked = {"inputs": inputs, "parameters": {"on_row_error": "report"}, "outputs": [{"name": "probability"}]}
    answer = infer(app, asked).json()
    found = {output["name"]: output for output in answer["outputs"]}
    assert found["row_ok"] == {"name": "row_ok", "shape": [4], "datatype": "BOOL", "data": [True, False, False, True]}
    assert found["probability"]["data"][1:3] == [0, 0]
    assert [(error["row"], error["field"]) for error in answer["row_errors"]] == [(1, "city"), (2, "probability")]
    error_of(infer(app, {"inputs": inputs}), 400)
    error_of(infer(app, {**asked, "parameters": {"on_row_error": "skip"}}), 400)


def test_classes_on_request(app: Application) -> None:
    best = {"name": "probabilities", "parameters": {"classification": 2}}
    answer = infer(app, {"inputs": row_inputs(ROW), "outputs": [best]}, "/v2/models/kinds/infer").json()
    (output,) = answer["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [1, 2])
    label = predict(app, {"instances": [ROW]}, "/v1/models/kinds:predict").json()["predictions"][0]["class"]
    assert output["data"][0].endswith(f":{label}")


def test_no_number_in_json_names_the_output(half: Application, app: Application) -> None:
    inputs = [{"name": "x", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}}]
    header = json.dumps({"inputs": inputs}).encode()
    nan = np.array([np.nan], np.float32).tobytes()
    said = error_of(infer(half, header + nan, "/v2/models/half/infer", **{LENGTH: str(len(header))}), 400)
    assert said.startswith("output 'y' has NaN or infinity")
    said = error_of(infer(app, {"inputs": row_inputs(ROW, {**ROW, "amount": POISON})}), 400)
    assert said == "output 'probability' is not finite for rows 1 of the request"


@pytest.mark.parametrize(
    ("body", "headers", "said"),
    [
        (b"", {}, "The document is empty"),
        (b"{", {}, "JSON Parse error"),
        (b"{}", {}, "inputs: expected a list"),
        (b"{}", {LENGTH: "x"}, "is not a number of bytes"),
        (b"{}", {LENGTH: "-1"}, "is not a number of bytes"),
        (b"{}", {LENGTH: "3"}, "Inference-Header-Content-Length is 3 for a body of 2 bytes"),
        (b"{}", {LENGTH: "9" * 40}, "is not a number of bytes"),
        (b'{"inputs":[]}', {}, "expected 9 inputs, found 0"),
    ],
)
def test_what_does_not_fit(app: Application, body: bytes, headers: dict[str, str], said: str) -> None:
    assert said in error_of(infer(app, body, **headers), 400)


def test_what_is_not_there(app: Application) -> None:
    for path in ("/v2/models/none/infer", "/v2/models/tiny/versions/9/infer"):
        error_of(infer(app, {"inputs": row_inputs(ROW)}, path), 404)
    error_of(ask(app, "GET", "/v2/models/none"), 404)
    error_of(ask(app, "GET", "/v2/models/none/ready"), 404)
    error_of(ask(app, "GET", "/v2/nothing"), 404)
    error_of(ask(app, "GET", "/v2/models/tiny/infer"), 405)


def test_the_server_and_its_health(app: Application, model_store: ModelStore) -> None:
    server = ask(app, "GET", "/v2").json()
    assert server["name"] == "millrace"
    assert {"binary_tensor_data", "model_repository_extension"} <= set(server["extensions"])
    assert ask(app, "GET", "/v2/health/live").json() == {"live": True}
    assert ask(app, "GET", "/v2/health/ready").json() == {"ready": True}
    assert ask(app, "GET", "/v2/models").json() == {"models": ["tiny", "kinds", "size"]}
    cold = Application(ServableManager(model_store, served("tiny")), Serve())
    error_of(ask(cold, "GET", "/v2/models/tiny/ready"), 503)


def test_a_model_describes_itself(app: Application) -> None:
    assert ask(app, "GET", "/v2/models/tiny/ready").json() == {"name": "tiny", "ready": True}
    shown = ask(app, "GET", "/v2/models/tiny").json()
    assert shown["platform"] == "tensorflow_savedmodel"
    assert {"name": "city", "datatype": "BYTES", "shape": [-1]} in shown["inputs"]
    config = ask(app, "GET", "/v2/models/tiny/versions/2/config").json()
    assert {"name": "city", "data_type": "TYPE_STRING", "dims": []} in config["input"]


def test_the_index_takes_an_empty_body(app: Application) -> None:
    for body in (b"", b"{}", b'{"ready":false}'):
        index = ask(app, "POST", "/v2/repository/index", content=body).json()
        assert [each["version"] for each in index if each["name"] == "tiny"] == ["2", "1"]
    ready = ask(app, "POST", "/v2/repository/index", content=b'{"ready":true}').json()
    assert {each["state"] for each in ready} == {"READY"}
    for wrong in (b"[]", b'{"ready":1}', b"x"):
        error_of(ask(app, "POST", "/v2/repository/index", content=wrong), 400)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["\ud800", "a\udfff"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.just("\ud800"), inner, max_size=3)
    ),
    max_leaves=5,
)
KEYS = ("name", "shape", "datatype", "data", "parameters", "other")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.integers(0, len(INPUTS) - 1), key=st.sampled_from(KEYS), value=JSON, report=st.booleans())
def test_no_mutation_of_one_tensor_is_a_server_error(
    app: Application, number: int, key: str, value: Any, report: bool
) -> None:
    document: dict[str, Any] = {"inputs": row_inputs(ROW, ROW)}
    document["inputs"][number][key] = value
    if report:
        document["parameters"] = {"on_row_error": "report"}
    response = infer(app, document)
    if response.status_code != 200:
        error_of(response, 400)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(["id", "parameters", "outputs", "inputs", "other"]), value=JSON)
def test_no_mutation_of_a_document_is_a_server_error(app: Application, key: str, value: Any) -> None:
    response = infer(app, {"inputs": row_inputs(ROW), key: value})
    if response.status_code != 200:
        error_of(response, 400)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(blob=st.binary(max_size=64), size=st.integers(-1, 70), datatype=st.sampled_from(list(DATATYPES.values())))
def test_no_bytes_are_a_server_error(half: Application, blob: bytes, size: int, datatype: str) -> None:
    dtype = next(dtype for dtype, word in DATATYPES.items() if word == datatype)
    tensor = {"name": f"{dtype}_in", "shape": [2], "datatype": datatype, "parameters": {"binary_data_size": size}}
    header = json.dumps({"inputs": [tensor], "parameters": {"signature_name": "echo"}}).encode()
    error_of(infer(half, header + blob, "/v2/models/half/infer", **{LENGTH: str(len(header))}), 400)


CAPTURED_REQUEST = (
    b'{"id":"1","inputs":[{"name":"x","shape":[2],"datatype":"FP32","parameters":{"binary_data_size":8}}]}'
)
CAPTURED = [
    (
        b'{"id":"1","inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[1,2]}]}',
        {},
        b'{"model_name":"half","model_version":"1","id":"1",'
        b'"outputs":[{"name":"y","shape":[2],"datatype":"FP32","data":[2.5,3.0]}]}',
    ),
    (
        CAPTURED_REQUEST.replace(b'"inputs"', b'"parameters":{"binary_data_output":true},"inputs"')
        + b"\x00\x00\x80\x3f\x00\x00\x00\x40",
        {LENGTH: str(len(CAPTURED_REQUEST) + len(b'"parameters":{"binary_data_output":true},'))},
        b'{"model_name":"half","model_version":"1","id":"1",'
        b'"outputs":[{"name":"y","shape":[2],"datatype":"FP32","parameters":{"binary_data_size":8}}]}'
        b"\x00\x00\x20\x40\x00\x00\x40\x40",
    ),
]


@pytest.mark.parametrize(("sent", "headers", "answered"), CAPTURED)
def test_captured_bytes(half: Application, sent: bytes, headers: dict[str, str], answered: bytes) -> None:
    assert infer(half, sent, "/v2/models/half/infer", **headers).content == answered


def test_models_are_unloaded_and_loaded_by_clients_only_where_that_is_allowed(
    app: Application, model_store: ModelStore
) -> None:
    path = "/v2/repository/models/tiny"
    assert "serve.model_control: true" in error_of(ask(app, "POST", f"{path}/unload"), 403)
    manager = ServableManager(model_store, served("tiny"))
    manager.load()
    mine = Application(manager, Serve(model_control=True))
    body = {"parameters": {"unload_dependents": False}}
    assert ask(mine, "POST", f"{path}/unload", json=body).json() == {"name": "tiny", "unload": True}
    assert ask(mine, "GET", "/v2/models/tiny/ready").status_code == 503
    assert ask(mine, "GET", "/v2/models/tiny").status_code == 404
    assert ask(mine, "GET", "/v2/health/ready").status_code == 200
    assert 'millrace_model_ready{model="tiny"} 0.0' in ask(mine, "GET", "/metrics").text
    index = ask(mine, "POST", "/v2/repository/index").json()
    assert {(entry["version"], entry["state"], entry["reason"]) for entry in index} == {
        ("1", "UNAVAILABLE", "unloaded"),
        ("2", "UNAVAILABLE", "unloaded"),
    }
    assert ask(mine, "POST", f"{path}/load").json() == {"name": "tiny", "load": True}
    assert ask(mine, "GET", "/v2/models/tiny/ready").status_code == 200
    assert 'millrace_model_ready{model="tiny"} 1.0' in ask(mine, "GET", "/metrics").text
    assert ask(mine, "POST", "/v2/repository/models/nothing/load").status_code == 404
    for asked in ([], {"parameters": {"config": "{}"}}, {"parameters": 1}):
        refused = ask(mine, "POST", f"{path}/load", json=asked)
        assert refused.status_code == 400, refused.text
        assert "take no parameters" in refused.json()["error"]


@pytest.mark.case("R")
def test_base64_in_answers_the_class_of_the_text(app: Application) -> None:
    inputs = row_inputs(ROW)
    plain = infer(app, {"inputs": inputs}).json()["outputs"]
    city = next(one for one in inputs if one["name"] == "city")
    city["data"] = [base64.b64encode(value.encode()).decode() for value in city["data"]]
    assert infer(app, {"inputs": inputs}).json()["outputs"] != plain, "as text it is another city"
    city["parameters"] = {"content_type": "base64"}
    assert infer(app, {"inputs": inputs}).json()["outputs"] == plain
    assert infer(app, {"inputs": inputs, "parameters": {"on_row_error": "report"}}).json()["outputs"][0] == plain[0]
    wanted = [{"name": "class", "parameters": {"content_type": "base64"}}]
    assert "output 'class' of datatype INT64 has no content_type" in error_of(
        infer(app, {"inputs": inputs, "outputs": wanted}), 400
    )
