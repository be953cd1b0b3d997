"""MLServer's content types: applied or refused, never ignored."""

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve.server.app import Application
from tests.serve.client import ask, error_of
from tests.serve.models import INPUTS, ROW
from tests.serve.routes.test_foreign import INFER, app_of, outputs_of, tensor
from tests.serve.routes.test_v2 import row_inputs

pytestmark = [pytest.mark.tf, pytest.mark.case("R")]

OURS = "/v2/models/tiny/infer"


@pytest.fixture(scope="module")
def other(uneven: Path, tmp_path_factory: pytest.TempPathFactory) -> Application:
    return app_of(uneven, tmp_path_factory.mktemp("content"))


def encoded(*values: bytes) -> list[str]:
    return [base64.b64encode(value).decode() for value in values]


def infer(app: Application, inputs: list[dict[str, Any]], path: str = OURS, **more: Any) -> httpx.Response:
    return ask(app, "POST", path, content=json.dumps({"inputs": inputs, **more}))


def changed(name: str, data: list[Any] | None = None, **changes: Any) -> list[dict[str, Any]]:
    """The tensors of two rows for `tiny`, one of them with changes."""
    inputs = row_inputs(ROW, ROW)
    (one,) = (each for each in inputs if each["name"] == name)
    one.update(changes)
    if data is not None:
        one["data"] = data
    return inputs


def of(content_type: Any) -> dict[str, Any]:
    return {"parameters": {"content_type": content_type}}


def test_a_model_of_ours_gets_the_bytes(app: Application) -> None:
    plain = outputs_of(infer(app, row_inputs(ROW, {**ROW, "city": "Rome"})))
    assert plain != outputs_of(infer(app, row_inputs(ROW, ROW)))
    cities = encoded(b"Oslo", b"Rome")
    assert outputs_of(infer(app, changed("city", cities, **of("base64")))) == plain
    notes = changed("city", cities)
    for each in notes:
        each["data"] = encoded(b"hi", b"hi") if each["name"] == "note" else each["data"]
    assert outputs_of(infer(app, notes, **of("base64"))) == plain
    nulls = changed("note", [None, *encoded(b"hi")], **of("base64"))
    expected = outputs_of(infer(app, row_inputs({**ROW, "note": None}, ROW)))
    assert outputs_of(infer(app, nulls)) == expected


def test_an_input_says_otherwise_than_the_request(other: Application) -> None:
    digits = tensor("text", "BYTES", ["1234"])
    asked = {"signature_name": "undecoded", "content_type": "base64"}
    assert error_of(infer(other, [digits], INFER, parameters=asked), 400).count("could not correctly convert") == 1
    answer = infer(other, [{**digits, **of("str")}], INFER, parameters=asked)
    assert outputs_of(answer) == {"number": ([1], [1234])}


def test_bytes_after_the_json_are_decoded_too(other: Application) -> None:
    def send(*texts: bytes) -> httpx.Response:
        blob = b"".join(len(text).to_bytes(4, "little") + text for text in texts)
        parameters = {"binary_data_size": len(blob), "content_type": "base64"}
        one = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "parameters": parameters}
        head = json.dumps({"inputs": [one], "parameters": {"signature_name": "undecoded"}}).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        return ask(other, "POST", INFER, content=head + blob, headers=headers)

    assert outputs_of(send(*[text.encode() for text in encoded(b"1.5", b"-2")])) == {"number": ([2], [1.5, -2])}
    assert error_of(send(b"MS41", b"*"), 400) == "input 'text': value 1: Unable to base64 decode"


@pytest.mark.parametrize("bad", ["*", "MTI", "MTI=MTI=", "é", "\ud800"])
def test_bad_base64_is_refused(app: Application, bad: str) -> None:
    inputs = changed("city", [*encoded(b"Oslo"), bad], **of("base64"))
    assert error_of(infer(app, inputs), 400) == "input 'city', value 1: Unable to base64 decode"
    answer = infer(app, inputs, parameters={"on_row_error": "report"}).json()
    assert answer["row_errors"] == [{"row": 1, "field": "city", "rule": "Unable to base64 decode"}]


def test_other_content_types_that_say_how_values_are_read(app: Application) -> None:
    plain = outputs_of(infer(app, row_inputs(ROW, ROW)))
    for content_type in ("np", "pd", None, ""):
        every = [{**each, **of(content_type)} for each in row_inputs(ROW, ROW)]
        assert outputs_of(infer(app, every, **of(content_type))) == plain
    for content_type in ("pd", "np", "dict", "str", "datetime"):
        assert outputs_of(infer(app, row_inputs(ROW, ROW), **of(content_type))) == plain
    for name, content_type in (("city", "str"), ("city", "datetime"), ("seen", "datetime")):
        assert outputs_of(infer(app, changed(name, **of(content_type)))) == plain
    as_pandas_sends_it = changed("seen", datatype="BYTES", shape=[2, 1], **of("datetime"))
    assert outputs_of(infer(app, as_pandas_sends_it)) == plain
    assert "expected datatype INT64, found" in error_of(infer(app, changed("seen", datatype="BYTES")), 400)


@pytest.mark.parametrize(
    "content_type", ["hg_jsonlist", "pd_json", "raw", "hf", "img", "BASE64", 5, ["base64"], {}, 0.5]
)
def test_unknown_content_types_are_refused(app: Application, content_type: Any) -> None:
    known = "is not supported; supported are base64, datetime, dict, np, pd, str"
    said = error_of(infer(app, changed("city", **of(content_type))), 400)
    assert said.startswith("input 'city': parameters: content_type ")
    assert known in said
    assert known in error_of(infer(app, row_inputs(ROW), **of(content_type)), 400)
    wanted = [{"name": "class", **of(content_type)}]
    assert known in error_of(infer(app, row_inputs(ROW), outputs=wanted), 400)


@pytest.mark.parametrize("content_type", ["base64", "str", "datetime"])
def test_content_types_of_text_are_refused_for_numbers(app: Application, content_type: str) -> None:
    for feature in INPUTS:
        fits = feature.dtype == "string" or (feature.dtype, content_type) == ("timestamp", "datetime")
        if not fits:
            said = error_of(infer(app, changed(feature.name, **of(content_type))), 400)
            assert said.startswith(f"input '{feature.name}': content_type {content_type} is for ")
    said = error_of(infer(app, row_inputs(ROW), outputs=[{"name": "probability", **of(content_type)}]), 400)
    assert said == f"output 'probability' of datatype FP32 has no content_type {content_type}"


def test_outputs_as_base64(app: Application, other: Application) -> None:
    path = "/v2/models/kinds/infer"
    (plain,) = infer(app, row_inputs(ROW), path, outputs=[{"name": "class", **of("str")}]).json()["outputs"]
    (found,) = infer(app, row_inputs(ROW), path, outputs=[{"name": "class", **of("base64")}]).json()["outputs"]
    assert found == {**plain, "data": encoded(*(text.encode() for text in plain["data"])), **of("base64")}
    sent = [{**tensor("text", "BYTES", encoded(b"\xff a")), **of("base64")}]
    asked = {"parameters": {"signature_name": "words"}}
    wanted = [{"name": "same", **of("base64")}, {"name": "words", **of("base64")}]
    assert outputs_of(infer(other, sent, INFER, outputs=wanted, **asked)) == {
        "same": ([1], encoded(b"\xff a")),
        "words": ([2], encoded(b"\xff", b"a")),
    }
    assert "is not UTF-8; ask for it as binary" in error_of(infer(other, sent, INFER, **asked), 400)
    both = [{"name": "class", "parameters": {"content_type": "base64", "binary_data": True}}]
    assert "base64 is for JSON" in error_of(infer(app, row_inputs(ROW), path, outputs=both), 400)
    classes = [{"name": "probabilities", "parameters": {"content_type": "base64", "classification": 1}}]
    assert "has no content_type base64" in error_of(infer(app, row_inputs(ROW), path, outputs=classes), 400)
