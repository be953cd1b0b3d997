"""TensorFlow Serving's classify and regress, without a server.

Cases that stand in its ``util/json_tensor_test.cc`` name the test there.
"""

import json
import math
from typing import Any

import numpy as np
import pytest

from serve.errors import InvalidRequest
from serve.protocols import examples
from serve.protocols.examples import decode_examples, encode_classify, encode_regress
from serve.servables.signatures import CLASSIFY, REGRESS, Signature
from tests.serve.models import ROW, spec_of
from tests.serve.signatures import ours, signature

NAN, INF = math.nan, math.inf


def decode(body: Any, signatures: dict[str, Signature] | None = None) -> examples.ExamplesRequest:
    return decode_examples(json.dumps(body).encode(), signatures or signature(inputs="string"))


def test_examples_without_context() -> None:
    """ClassifyRegressRequestTest.RequestNoContext."""
    found = decode(
        {"examples": [{"names": ["foo", "bar"], "ratings": [8.0, 9.0], "age": 20}, {"names": ["baz"], "ratings": 6.0}]}
    )
    assert found.examples() == [
        {"names": ("bytes", [b"foo", b"bar"]), "ratings": ("float", [8.0, 9.0]), "age": ("int64", [20])},
        {"names": ("bytes", [b"baz"]), "ratings": ("float", [6.0])},
    ]


def test_examples_with_context_and_signature() -> None:
    """ClassifyRegressRequestTest.RequestWithContextAndSignature; the context stands in each example."""
    found = decode(
        {
            "signature_name": "custom",
            "context": {"query": "pizza", "location": ["sfo"]},
            "examples": [
                {"ratings": [8.0, INF], "age": 20},
                {"names": ["baz", {"b64": "aGVsbG8="}], "intboolmix": [1, True, False]},
                {"names": "bar", "ratings": -INF, "query": "own"},
            ],
        },
        signature("custom", inputs="string"),
    )
    assert found.signature.name == "custom"
    context = {"query": ("bytes", [b"pizza"]), "location": ("bytes", [b"sfo"])}
    assert found.examples() == [
        {**context, "ratings": ("float", [8.0, INF]), "age": ("int64", [20])},
        {**context, "names": ("bytes", [b"baz", b"hello"]), "intboolmix": ("int64", [1, 1, 0])},
        {**context, "names": ("bytes", [b"bar"]), "ratings": ("float", [-INF]), "query": ("bytes", [b"own"])},
    ]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        # ClassifyRegressRequestTest.JsonErrors
        ({"signature_name": ["hello"], "examples": [{"n": ["foo"]}]}, "'signature_name' key must be a string"),
        ({"context": [{"n": ["foo"]}]}, "Example must be JSON object"),
        ({"examples": {"n": ["foo"]}}, "list/array"),
        ({"examples": [[{"n": ["foo"]}]]}, "Example must be JSON object but got JSON Array"),
        ({"examples": [{"n": [10, None]}]}, "n has element with unexpected JSON type: Null"),
        ({"examples": [{"n": [10, 10.0]}]}, "feature: n expecting type: int64"),
        ({"examples": [{"n": [10, {"test": 10}]}]}, "n has element with unexpected JSON type: Object"),
        ({"examples": [{"n": [[10], 20]}]}, "n has element with unexpected JSON type: Array"),
        ({"examples": [{"n": [20, 18446744073709551603]}]}, "Only int64 is supported"),
        ({"examples": [{"n": 10**400}]}, "n: a number of more than 64 digits is too big to be stored in double"),
        # What no test there names.
        ({}, "key 'examples' is expected and was not found"),
        ({"examples": []}, "is an empty array"),
        ({"examples": [{"n": {"b64": "*"}}]}, "Unable to base64 decode"),
    ],
)
def test_what_is_no_example(body: Any, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(body).examples()
    assert said in str(caught.value)


@pytest.mark.tf
@pytest.mark.case("S2")
def test_a_number_beyond_a_float_is_infinite() -> None:
    from tensorflow.core.example import example_pb2

    asked = decode({"examples": [{"n": [1e300, -1e300, 0.5]}]}, signature(method=CLASSIFY, inputs="string"))
    (data,) = asked.inputs("classify")["inputs"]
    values = example_pb2.Example.FromString(data).features.feature["n"].float_list.value
    assert list(values) == [INF, -INF, 0.5]


@pytest.mark.tf
def test_a_signature_of_the_kind_gets_serialised_examples() -> None:
    from tensorflow.core.example import example_pb2

    asked = decode(
        {"examples": [{"x": 20.0, "s": "a", "n": 3, "none": []}]}, signature(method=CLASSIFY, inputs="string")
    )
    (data,) = asked.inputs("classify")["inputs"]
    features = example_pb2.Example.FromString(data).features.feature
    assert list(features["x"].float_list.value) == [20.0]
    assert list(features["s"].bytes_list.value) == [b"a"]
    assert list(features["n"].int64_list.value) == [3]
    assert features["none"].WhichOneof("kind") is None
    with pytest.raises(InvalidRequest, match="Expected regress signature method_name to be tensorflow/serving/regress"):
        asked.inputs("regress")


@pytest.mark.tf
@pytest.mark.case("S2")
def test_numbers_of_examples_are_rounded() -> None:
    """As in FloatTensorWithPrecisionLoss and FloatTensorThatExceedsMaxReturnsInf, for features."""
    from tensorflow.core.example import example_pb2

    largest = float(np.finfo(np.float64).max)
    sent = [16777217.0, largest, -largest, 1e-300, 2**64, -(2**63) - 1, 0.1]
    asked = decode({"examples": [{"x": sent}]}, signature(method=REGRESS, inputs="string"))
    (data,) = asked.inputs("regress")["inputs"]
    found = list(example_pb2.Example.FromString(data).features.feature["x"].float_list.value)
    assert found == [16777216, INF, -INF, 0, 2.0**64, -(2.0**63), float(np.float32(0.1))]


@pytest.mark.case("S2")
def test_a_model_of_ours_refuses_numbers_that_it_cannot_take() -> None:
    for value in (1e39, 2**24):
        with pytest.raises(InvalidRequest, match="Example 0: feature amount: Cannot convert JSON value"):
            decode({"examples": [{**ROW, "amount": value}]}, ours()).inputs("regress")
    assert decode({"examples": [{**ROW, "weight": 1e300}]}, ours()).inputs("regress")["weight"].tolist() == [1e300]
    with pytest.raises(InvalidRequest, match=r"Example 0: feature count: JSON Value: 1.18"):
        decode({"examples": [{**ROW, "count": 2**70}]}, ours()).inputs("regress")


def test_a_model_of_ours_gets_columns() -> None:
    row = {**ROW, "note": []}
    columns = decode({"examples": [row, {**row, "amount": 2}]}, ours()).inputs("classify")
    assert columns["amount"].tolist() == [1.5, 2]
    assert columns["note"].tolist() == [b"", b""]
    assert columns["flag"].tolist() == [True, True]
    assert columns["maybe"].tolist() == [0, 0]
    with pytest.raises(InvalidRequest, match="Example 1: feature city: JSON Value: 5 Type: Number"):
        decode({"examples": [row, {**row, "city": 5}]}, ours()).inputs("classify")
    with pytest.raises(InvalidRequest, match="Example 0: feature amount: 2 values"):
        decode({"examples": [{**row, "amount": [1, 2]}]}, ours()).inputs("classify")
    with pytest.raises(InvalidRequest, match="Example 0: feature amount: JSON Value: null"):
        decode({"examples": [{**row, "amount": []}]}, ours()).inputs("classify")


def test_classifications_are_pairs() -> None:
    """ClassifyRegressnResultTest.JsonFromClassificationResult."""
    scores = np.array([[0.2, 0.7, 0.1], [0.7, 0.1, 0.2]], np.float32)
    classes = np.array([[b"car", b"bike", b"bus"]] * 2, object)
    assert json.loads(encode_classify({"classes": classes, "scores": scores}, 2, None)) == {
        "results": [[["car", 0.2], ["bike", 0.7], ["bus", 0.1]], [["car", 0.7], ["bike", 0.1], ["bus", 0.2]]]
    }
    assert json.loads(encode_classify({"scores": scores[:, :1]}, 2, None)) == {"results": [[["", 0.2]], [["", 0.7]]]}
    assert json.loads(encode_classify({"classes": classes}, 2, None))["results"][0][0] == ["car", 0.0]


def test_a_model_of_ours_names_its_classes_best_first() -> None:
    outputs = {"probability": np.array([0.25, 0.75], np.float32)}
    assert json.loads(encode_classify(outputs, 2, spec_of("binary"))) == {
        "results": [[["0", 0.75], ["1", 0.25]], [["1", 0.75], ["0", 0.25]]]
    }
    outputs = {"probabilities": np.array([[0.2, 0.5, 0.3]], np.float32)}
    best = json.loads(encode_classify(outputs, 1, spec_of("multiclass")))
    assert best == {"results": [[["mid", 0.5], ["high", 0.3], ["low", 0.2]]]}
    with pytest.raises(InvalidRequest, match="predicts a number"):
        encode_classify({"prediction": np.zeros(1)}, 1, spec_of("regression"))


def test_regressions_are_numbers() -> None:
    """ClassifyRegressnResultTest.JsonFromRegressionResult and ...WithNonFinite."""
    assert encode_regress({"outputs": np.array([[0.2], [0.9], [1.0]], np.float32)}, 3) == b'{"results":[0.2,0.9,1.0]}'
    odd = np.array([0.2, INF, 1.0, -INF, NAN], np.float32)
    assert encode_regress({"prediction": odd}, 5) == b'{"results":[0.2,Infinity,1.0,-Infinity,NaN]}'


def test_outputs_that_are_no_results() -> None:
    """ClassifyRegressnResultTest.JsonFromResultErrors."""
    for outputs in ({}, {"scores": np.zeros((1, 2))}):
        with pytest.raises(InvalidRequest, match="returns neither classes nor scores"):
            encode_classify(outputs, 2, None)
    with pytest.raises(InvalidRequest, match="one score per class"):
        encode_classify({"classes": np.array([[b"a"]], object), "scores": np.zeros((1, 2))}, 1, None)
    for outputs in ({}, {"outputs": np.zeros(3)}, {"outputs": np.array([b"a", b"b"], object)}):
        with pytest.raises(InvalidRequest, match="does not return one number"):
            encode_regress(outputs, 2)
