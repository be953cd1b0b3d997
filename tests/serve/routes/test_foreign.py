"""What clients see of models that another system wrote."""

import asyncio
import base64
import json
import os
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from millrace.config.sections.serve import Serve, ServedModel
from millrace.models.store import ModelStore
from millrace.storage import Store
from pipelines.commands.show import show_model
from serve.isolation.parent import IsolatedServable
from serve.servables.manager import ServableManager
from serve.servables.saved_model import MAX_BATCH, LoadedModel
from serve.server.app import Application
from tests.serve.client import ask, error_of, predict
from tests.serve.foreign_graphs import spoil_objects

pytestmark = pytest.mark.tf

PREDICT, INFER = "/v1/models/uneven:predict", "/v2/models/uneven/infer"


def app_of(folder: Path, root: Path, **settings: Any) -> Application:
    """An application over one foreign model, named `uneven`."""
    (root / "models" / "uneven").mkdir(parents=True)
    (root / "models" / "uneven" / "1").symlink_to(folder)
    models = {"uneven": ServedModel(allow_foreign=True, **settings)}
    manager = ServableManager(ModelStore(Store(str(root))), models)
    manager.load()
    return Application(manager, Serve(max_body_mb=8))


@pytest.fixture(params=["alone", "joined"], scope="module")
def app(uneven: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Application:
    return app_of(uneven, tmp_path_factory.mktemp("uneven"), join_requests=request.param == "joined")


def tensor(name: str, datatype: str, values: Sequence[Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": [len(values)], "datatype": datatype, "data": list(values), **more}


def infer(app: Application, inputs: Sequence[dict[str, Any]], **parameters: Any) -> httpx.Response:
    return ask(app, "POST", INFER, json={"inputs": list(inputs), "parameters": parameters})


def outputs_of(answer: httpx.Response) -> dict[str, tuple[list[int], list[Any]]]:
    assert answer.status_code == 200, answer.text
    return {output["name"]: (output["shape"], output["data"]) for output in answer.json()["outputs"]}


@pytest.mark.case("S1")
def test_outputs_of_unequal_length_are_answered_in_columns(app: Application) -> None:
    expected = {"same": [2, 4, 2, 6], "unique": [1, 2, 3]}
    assert predict(app, {"inputs": [1, 2, 1, 3]}, PREDICT).json() == {"outputs": expected}
    assert outputs_of(infer(app, [tensor("x", "FP32", [1, 2, 1, 3])])) == {
        "same": ([4], expected["same"]),
        "unique": ([3], expected["unique"]),
    }
    texts = {"signature_name": "words", "inputs": ["a b", "c"]}
    assert predict(app, texts, PREDICT).json() == {"outputs": {"same": ["a b", "c"], "words": ["a", "b", "c"]}}


@pytest.mark.case("S1")
def test_outputs_of_unequal_length_have_no_row_form(app: Application) -> None:
    said = error_of(predict(app, {"instances": [1, 2, 1, 3]}, PREDICT), 400)
    assert said == "Tensor name: unique has inconsistent batch size: 3 expecting: 4"
    assert predict(app, {"instances": [1, 2]}, PREDICT).json() == {
        "predictions": [{"same": 2, "unique": 1}, {"same": 4, "unique": 2}]
    }


@pytest.mark.case("S1")
def test_bad_rows_cannot_be_reported_where_outputs_are_not_rows(app: Application) -> None:
    report = {"parameters": {"on_row_error": "report"}}
    for signature in ("serving_default", "kept"):
        said = error_of(predict(app, {"signature_name": signature, "instances": [1, -1, 1], **report}, PREDICT), 400)
        assert said.startswith(
            ("on_row_error needs a signature", 'parameters: on_row_error "report" needs a signature')
        )
    inputs = [tensor("x", "FP32", [1, -1, 1])]
    said = error_of(infer(app, inputs, on_row_error="report", signature_name="kept"), 400)
    assert "on_row_error" in said


@pytest.mark.case("S1")
def test_scalars_unknown_ranks_and_empty_outputs(app: Application) -> None:
    columns = {"signature_name": "odd", "inputs": {"x": [1, 2, 3, 4], "shape": [2, 2]}}
    expected = {"any": [[1, 2], [3, 4]], "none": [], "same": [1, 2, 3, 4], "total": 10}
    assert predict(app, columns, PREDICT).json() == {"outputs": expected}
    answer = infer(app, [tensor("x", "FP32", [1, 2, 3, 4]), tensor("shape", "INT32", [2, 2])], signature_name="odd")
    assert outputs_of(answer) == {
        "any": ([2, 2], [1, 2, 3, 4]),
        "none": ([0], []),
        "same": ([4], [1, 2, 3, 4]),
        "total": ([], [10]),
    }
    rows = {"signature_name": "odd", "instances": [{"x": 1, "shape": 1}]}
    assert error_of(predict(app, rows, PREDICT), 400) == "Tensor name: none has inconsistent batch size: 0 expecting: 1"


@pytest.mark.case("S1")
def test_more_rows_than_one_call_has_are_not_put_together_wrongly(app: Application) -> None:
    x = ([1.0] * (MAX_BATCH - 1) + [5.0]) * 2 + [1.0]
    answered = predict(app, {"inputs": x}, PREDICT).json()["outputs"]
    assert answered["unique"] == [1, 5]
    assert answered["same"] == [2 * value for value in x]
    some = [*x[:-1], -1.0]
    answered = predict(app, {"signature_name": "kept", "inputs": some}, PREDICT).json()["outputs"]
    assert answered["kept"] == some[:-1]


@pytest.mark.case("S1")
@pytest.mark.parametrize("signature", ["serving_default", "kept"])
def test_requests_do_not_get_rows_of_others(uneven: Path, tmp_path: Path, signature: str) -> None:
    """All at once: with the number of rows that one of them has, others could pass for joined ones."""
    app = app_of(uneven, tmp_path, join_requests=True)

    async def send(client: httpx.AsyncClient, x: list[float]) -> tuple[list[float], Any]:
        answer = await client.post(PREDICT, json={"signature_name": signature, "inputs": x})
        return x, answer.json()["outputs"]

    async def send_all() -> list[Any]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            bodies = [[float(n), float(-n), float(n)] for n in range(1, 60)]
            return await asyncio.gather(*(send(client, x) for x in bodies))

    for x, outputs in asyncio.run(send_all()):
        own = (
            {"unique": list(dict.fromkeys(x))} if signature == "serving_default" else {"kept": [v for v in x if v >= 0]}
        )
        assert outputs == {"same": [2 * value for value in x], **own}


@pytest.mark.case("S1")
def test_what_the_probe_found_is_known_to_the_server(uneven: Path) -> None:
    servable = LoadedModel.load_foreign("uneven", 1, uneven, joins=True)
    assert not servable.signatures["serving_default"].is_batched
    assert not servable.signatures["words"].is_batched
    assert servable.signatures["kept"].is_batched
    isolated = IsolatedServable("uneven/1", partial(LoadedModel.load_foreign, "uneven", 1, uneven, joins=True), 60)
    assert isolated.signatures == servable.signatures
    isolated.close()


@pytest.mark.case("S3")
@pytest.mark.parametrize("by_graph", [False, True])
@pytest.mark.parametrize("sent", [b"\xff\xfe", b"no number"])
def test_a_message_that_is_not_utf_8_is_the_clients_error(
    uneven: Path, tmp_path: Path, by_graph: bool, sent: bytes
) -> None:
    folder = Path(shutil.copytree(uneven, tmp_path / "1"))
    if by_graph:
        spoil_objects(folder)
    app = app_of(folder, tmp_path)
    shown = sent.decode(errors="replace")
    body = {"signature_name": "undecoded", "inputs": [{"b64": base64.b64encode(sent).decode()}]}
    assert f"could not correctly convert string: {shown}" in error_of(predict(app, body, PREDICT), 400)
    size = {"binary_data_size": len(sent) + 4}
    head = json.dumps(
        {
            "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "parameters": size}],
            "parameters": {"signature_name": "undecoded"},
        }
    ).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = ask(app, "POST", INFER, content=head + len(sent).to_bytes(4, "little") + sent, headers=headers)
    assert f"could not correctly convert string: {shown}" in error_of(answer, 400)
    body["signature_name"] = "failed"
    assert "assertion failed" in error_of(predict(app, body, PREDICT), 400)


@pytest.mark.case("S2")
def test_numbers_beyond_a_float_are_rounded_or_infinite(app: Application) -> None:
    """In both forms of predict and in V2's JSON; one value, and more than are decoded one by one."""
    sent = [16777217, 1435774380, 1.7976931348623157e308, -1e39, 2**64, 1e-300]
    expected = [2 * value for value in (16777216.0, 1435774336.0, float("inf"), float("-inf"), 2.0**64, 0.0)]
    for values, wanted in ((sent[:1], expected[:1]), (sent * 3, expected * 3)):
        body = {"signature_name": "kept", "inputs": values}
        shown = predict(app, body, PREDICT).json()["outputs"]["same"]
        assert np.array(shown).astype(np.float32).tolist() == wanted
        inputs = [tensor("x", "FP32", values)]
        head = {"inputs": inputs, "outputs": [{"name": "same", "parameters": {"binary_data": True}}]}
        answer = ask(app, "POST", INFER, json=head)
        assert answer.status_code == 200
        length = int(answer.headers["Inference-Header-Content-Length"])
        assert np.frombuffer(answer.content[length:], np.float32).tolist() == wanted
    rows = predict(app, {"signature_name": "kept", "instances": [5, 16777217]}, PREDICT).json()["predictions"]
    assert [row["same"] for row in rows] == [10, 33554432]


@pytest.mark.case("S2")
def test_features_beyond_a_float_are_rounded(foreign: Path, tmp_path: Path) -> None:
    app = app_of(foreign, tmp_path)
    for method in ("regress", "classify"):
        body = {"signature_name": f"{method}_x_to_y", "examples": [{"x": 33554434.0}, {"x": 1e308}]}
        results = ask(app, "POST", f"/v1/models/uneven:{method}", json=body)
        found = json.loads(results.content)["results"]
        scores = found if method == "regress" else [row[0][1] for row in found]
        assert scores == [16777218, float("inf")]


@pytest.mark.case("S3")
def test_names_of_files_and_defaults_that_are_not_text(
    uneven: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    folder = Path(shutil.copytree(uneven, tmp_path / "1"))
    (folder / "assets.extra").mkdir()
    Path(os.fsdecode(os.fsencode(folder / "assets.extra") + b"/\xff.txt")).write_bytes(b"x")
    (folder / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"\xff" * 100)
    model = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    signature = model.meta_graphs[0].signature_def["undecoded"]
    signature.defaults["text"].dtype = 7
    signature.defaults["text"].string_val.append(b"\xff")
    signature.defaults["text"].float_val.append(float("nan"))
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())
    app = app_of(folder, tmp_path)
    metadata = ask(app, "GET", "/v1/models/uneven/metadata").json()["metadata"]["signature_def"]["signature_def"]
    assert metadata["undecoded"]["defaults"]["text"]["string_val"] == ["/w=="]
    show_model("uneven", None, str(tmp_path), "local")
    out, err = capsys.readouterr()
    assert "assets.extra/\udcff.txt" in [file["path"] for file in json.loads(out)["files"]]
    assert "assets.extra/�.txt" in err


@pytest.mark.case("S3")
def test_texts_that_are_not_utf_8(app: Application) -> None:
    """V1 replaces the bytes; V2 asks for another form."""
    body = {"signature_name": "words", "inputs": [{"b64": base64.b64encode(b"\xff a").decode()}]}
    assert predict(app, body, PREDICT).json()["outputs"] == {"same": ["� a"], "words": ["�", "a"]}
