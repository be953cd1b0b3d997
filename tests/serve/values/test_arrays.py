"""JSON values to arrays, one dtype at a time."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.features.encoding import INT64_MIN
from millrace.features.spec import Dtype, Feature, Numeric
from serve.errors import BadValue
from serve.servables.signatures import TensorInfo
from serve.values.arrays import FEW, decode_values, encode_values, type_name
from serve.values.document import describe, dump_json

NAN, INF = math.nan, math.inf


def ours(dtype: Dtype, *, nullable: bool = False) -> TensorInfo:
    feature = Feature(name="x", dtype=dtype, nullable=nullable, transform=Numeric())
    return TensorInfo("x", feature.tensor_dtype, (-1,), feature)


@pytest.mark.parametrize(
    ("dtype", "nullable", "values", "expected"),
    [
        ("float32", False, [1, 2.5, -0.0], [1, 2.5, 0]),
        ("float64", False, [1e300, 5e-324], [1e300, 5e-324]),
        ("float32", True, [None, 1.5], [NAN, 1.5]),
        ("float64", True, [NAN, 2], [NAN, 2]),
        ("int64", False, [0, 2**63 - 1, -(2**63) + 1], [0, 2**63 - 1, -(2**63) + 1]),
        ("int64", True, [None, NAN, 5], [INT64_MIN, INT64_MIN, 5]),
        ("bool", False, [True, False], [True, False]),
        ("bool", True, [True, False], [1, 0]),
        ("bool", True, [True, None, NAN, 0, 1], [1, INT64_MIN, INT64_MIN, 0, 1]),
        ("timestamp", False, [0, -5, 1359633600000000], [0, -5, 1359633600000000]),
        ("timestamp", False, ["1970-01-01T00:00:00.000001", "1970-01-01"], [1, 0]),
        ("timestamp", False, ["1970-01-01T01:00:00+01:00", "1969-12-31T23:59:59Z"], [0, -1000000]),
        ("timestamp", True, [None, "2013-01-31 12:00"], [INT64_MIN, 1359633600000000]),
        ("string", False, ["a", "", "é"], [b"a", b"", "é".encode()]),
        ("string", True, [None, "a"], [b"", b"a"]),
        ("string", False, [{"b64": "/w=="}, "a"], [b"\xff", b"a"]),
    ],
)
def test_takes(dtype: Dtype, nullable: bool, values: list[Any], expected: list[Any]) -> None:
    info = ours(dtype, nullable=nullable)
    array = decode_values(values, info)
    assert array.dtype == (object if dtype == "string" else info.dtype)
    assert array.ndim == 1
    np.testing.assert_array_equal(array, np.array(expected, dtype=array.dtype))


WRONG: list[tuple[Dtype, bool, Any]] = [
    *[(dtype, False, None) for dtype in ("float32", "float64", "int64", "bool", "timestamp", "string")],
    *[(dtype, False, NAN) for dtype in ("float32", "float64", "int64", "bool", "timestamp", "string")],
    *[(dtype, True, value) for dtype in ("float32", "float64") for value in (INF, -INF, "1", True, [1], {}, 10**400)],
    ("float32", True, 1e39),
    ("float32", False, -1e39),
    ("float32", False, 2**24),
    *[("int64", True, value) for value in (1.0, 1.5, "1", True, 2**63, -(2**63) - 1, INF, [1], {"b64": "AA=="})],
    ("int64", False, INT64_MIN),
    *[("bool", False, value) for value in (0, 1, "true", 1.0, [])],
    *[("bool", True, value) for value in (2, -1, "true", 1.0, INT64_MIN)],
    *[("timestamp", True, value) for value in (1.5, "yesterday", "", True, "2013-13-01", 2**63, [0])],
    *[("string", True, value) for value in (1, True, NAN, ["a"], {"b64": 1}, {"b64": "AA==", "x": 1})],
    ("string", True, {}),
]


@pytest.mark.parametrize(("dtype", "nullable", "value"), WRONG)
def test_refuses(dtype: Dtype, nullable: bool, value: Any) -> None:
    good = {"bool": True, "string": "a"}.get(dtype, 1)
    info = ours(dtype, nullable=nullable)
    with pytest.raises(BadValue) as caught:
        decode_values([good, value, good], info)
    assert caught.value.position == 1
    assert describe(value) in caught.value.reason
    assert ("null" in type_name(info)) == nullable


@pytest.mark.parametrize("value", ["\ud800", {"b64": "*"}, {"b64": "\ud800"}])
def test_refuses_strings_that_are_no_bytes(value: Any) -> None:
    with pytest.raises(BadValue, match=r"base64|String is not of expected type"):
        decode_values(["a", value], ours("string"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_from_elsewhere_takes_numbers_that_are_none(dtype: str) -> None:
    info = TensorInfo("x", dtype, None)
    np.testing.assert_array_equal(decode_values([NAN, INF, -INF, 1], info), np.array([NAN, INF, -INF, 1], dtype))
    for value in (10**400, None, True):
        with pytest.raises(BadValue):
            decode_values([value], info)


SIZES = [
    *(2**power + more for power in (24, 25, 53, 54, 63, 64, 100, 127) for more in (-1, 0, 1)),
    *(3.4028234663852886e38, 3.4028235677973362e38, 3.4028235677973366e38, 1e39, 1.7976931348623157e308, 10**308),
    *(1e-45, 7e-46, 1e-300, 5e-324, 0.0, 0.1, 0, 1, 1435774380, 1435774380.0, NAN, INF),
]
EDGES = [sign * size for size in SIZES for sign in (1, -1)]
"""Numbers next to the largest that floats represent exactly, or at all."""


@pytest.mark.case("S2")
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(values=st.lists(st.sampled_from(EDGES) | st.integers(-(10**40), 10**40) | st.floats(), min_size=1, max_size=20))
def test_a_model_from_elsewhere_takes_every_number(dtype: str, exact: bool, values: list[Any]) -> None:
    """FloatTensorWithPrecisionLoss, FloatTensorThatExceedsMaxReturnsInf, FloatTensorThatExceedsMinReturnsZero.

    Few values are decoded one by one, many together; in each case as C++ does: to double, then to float.
    """
    with np.errstate(over="ignore"):
        expected = np.array([float(value) for value in values], np.float64).astype(dtype)
    found = decode_values(values, TensorInfo("x", dtype, None), exact=exact)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    assert np.signbit(found).tolist() == np.signbit(expected).tolist()


@pytest.mark.case("S2")
@pytest.mark.parametrize("copies", [1, FEW + 1])
def test_numbers_beyond_a_float_are_refused_for_a_model_of_ours(copies: int) -> None:
    for value in (2**24, -(2**63), 2**64, 10**40, 3.5e38, -1e39, 1e308):
        with pytest.raises(BadValue, match="to float without loss of precision"):
            decode_values([value] * copies, ours("float32"))
    for value in (2**53 + 1, 10**40):
        with pytest.raises(BadValue, match="to double without loss of precision"):
            decode_values([value] * copies, ours("float64"))
    for whole in (2**24, -(2**24)):
        assert decode_values([whole] * copies, ours("float32"), exact=False).tolist() == [whole] * copies


def test_refuses_a_timestamp_that_leaves_the_calendar() -> None:
    array = decode_values(["0001-01-01T00:00:00+23:59"], ours("timestamp"))
    assert array[0] < decode_values(["0001-01-01"], ours("timestamp"))[0]


def test_what_an_input_takes_in_words() -> None:
    assert type_name(TensorInfo("x", "float32", None)) == "float"
    assert type_name(ours("float64", nullable=True)) == "double, or null"
    assert type_name(ours("bool", nullable=True)) == "int64, or a bool, null"


def test_writes_floats_in_their_shortest_form() -> None:
    column = encode_values("p", np.array([0.1, 1 / 3, 1e-7, 1], dtype=np.float32))
    assert dump_json(column) == b"[0.1,0.33333334,1e-7,1.0]"
    assert json.loads(dump_json(encode_values("p", np.array([0.1], dtype=np.float64)))) == [0.1]


def test_writes_bytes_as_text_or_base64_by_the_outputs_name() -> None:
    values = np.array([[b"\xff"], ["é".encode()]], dtype=object)
    assert encode_values("class", values) == [["\ufffd"], ["é"]]
    assert encode_values("raw_bytes", values) == [[{"b64": "/w=="}], [{"b64": "w6k="}]]
    assert encode_values("x", np.array(b"a", object)) == "a"
