"""Values become what a model takes, missing ones included, the same for every dtype."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import TypeAdapter, ValidationError

from millrace.errors import FeatureMismatch
from millrace.features.encoding import INT64_MIN, Dictionary, encode
from millrace.features.spec import (
    PERIODS_US,
    TABLE_DTYPES,
    Category,
    Cross,
    Dtype,
    Feature,
    FeatureSpec,
    Label,
    Numeric,
    Transform,
    table_dtype,
)
from millrace.features.timestamps import microseconds_of, moment_of

NAN = float("nan")
NOON = datetime(2013, 1, 1, 12, tzinfo=UTC)
NOON_US = 1_357_041_600_000_000


def feature(dtype: Dtype, *, nullable: bool = True) -> Feature:
    return Feature(name="x", dtype=dtype, nullable=nullable, transform=Numeric())


def encoded(column: pa.Array | pa.ChunkedArray, of: Feature) -> Any:
    result = encode(column, of)
    return [result.values[i] for i in result.indices] if isinstance(result, Dictionary) else result


WITH_NULLS = [
    ("float32", pa.array([1.5, None], pa.float32()), np.array([1.5, NAN], np.float32)),
    ("float32", pa.array([3, None], pa.int32()), np.array([3, NAN], np.float32)),
    ("float64", pa.array([1.5, None, NAN], pa.float64()), np.array([1.5, NAN, NAN])),
    ("float64", pa.array([1.5, None], pa.float32()), np.array([1.5, NAN])),
    ("int64", pa.array([7, None], pa.int64()), np.array([7, INT64_MIN])),
    ("int64", pa.array([-7, None], pa.int8()), np.array([-7, INT64_MIN])),
    ("bool", pa.array([True, False, None]), np.array([1, 0, INT64_MIN])),
    ("timestamp", pa.array([NOON, None], pa.timestamp("us", tz="UTC")), np.array([NOON_US, INT64_MIN])),
    ("timestamp", pa.array([NOON, None], pa.timestamp("ms", tz="America/New_York")), np.array([NOON_US, INT64_MIN])),
    ("timestamp", pa.array([NOON_US, None]).cast(pa.timestamp("us")), np.array([NOON_US, INT64_MIN])),
    ("string", pa.array(["a", None, "", "a"]), ["a", "", "", "a"]),
    ("string", pa.array(["a", None]).dictionary_encode(), ["a", ""]),
    ("string", pa.array(["ü", None], pa.large_string()), ["ü", ""]),
]


@pytest.mark.parametrize(("dtype", "column", "expected"), WITH_NULLS)
def test_missing_values_have_one_encoding(dtype: Dtype, column: pa.Array, expected: Any) -> None:
    result = encoded(column, feature(dtype))
    np.testing.assert_array_equal(result, expected)
    if isinstance(expected, np.ndarray):
        assert result.dtype == expected.dtype == np.dtype(feature(dtype).tensor_dtype)


WITHOUT_NULLS = [
    ("float32", pa.array([1.5], pa.float32())),
    ("float64", pa.array([1.5])),
    ("int64", pa.array([INT64_MIN + 1, 2**63 - 1])),
    ("bool", pa.array([True, False])),
    ("timestamp", pa.array([NOON], pa.timestamp("us", tz="UTC"))),
    ("string", pa.array(["a"])),
]


@pytest.mark.parametrize(("dtype", "column"), WITHOUT_NULLS)
def test_a_required_column(dtype: Dtype, column: pa.Array) -> None:
    required = feature(dtype, nullable=False)
    result = encode(column, required)
    if not isinstance(result, Dictionary):
        assert result.dtype == np.dtype(required.tensor_dtype)
    assert len(result) == len(column)
    with pytest.raises(FeatureMismatch, match=r"x: expected no missing value, found 1 missing values"):
        encode(pa.concat_arrays([column, pa.nulls(1, column.type)]), required)


@pytest.mark.parametrize(("dtype", "column"), WITHOUT_NULLS)
def test_chunks_slices_and_nothing(dtype: Dtype, column: pa.Array) -> None:
    """An array that starts inside its buffer, or in several pieces, gives the same as a plain one."""
    twice = pa.chunked_array([column, column])
    np.testing.assert_array_equal(encoded(twice, feature(dtype)), [*encoded(column, feature(dtype))] * 2)
    last = pa.concat_arrays([column, column]).slice(len(column))
    np.testing.assert_array_equal(encoded(last, feature(dtype)), encoded(column, feature(dtype)))
    assert len(encode(column.slice(0, 0), feature(dtype))) == 0
    assert len(encode(pa.chunked_array([], column.type), feature(dtype))) == 0


@pytest.mark.parametrize(
    ("dtype", "column", "found"),
    [
        ("int64", pa.array(["a"]), "string"),
        ("int64", pa.array([1.5]), "double"),
        ("float32", pa.array(["1.5x"]), "string"),
        ("bool", pa.array(["maybe"]), "string"),
        ("timestamp", pa.array(["soon"]), "string"),
        ("timestamp", pa.array([1]).cast(pa.timestamp("ns")), "timestamp[ns]"),
        ("string", pa.array([[1]]), "list<item: int64>"),
    ],
)
def test_a_column_that_cannot_hold_the_feature(dtype: Dtype, column: pa.Array, found: str) -> None:
    with pytest.raises(FeatureMismatch) as caught:
        encode(column, feature(dtype))
    assert (caught.value.feature, caught.value.expected, caught.value.found) == ("x", dtype, found)


@pytest.mark.parametrize("type_name", TABLE_DTYPES)
def test_every_table_type_has_a_dtype(type_name: str) -> None:
    assert table_dtype("x", type_name) == TABLE_DTYPES[type_name]


def test_other_types_are_refused() -> None:
    with pytest.raises(FeatureMismatch, match=r"x: expected a column of type float, .*, found binary"):
        table_dtype("x", "binary")


def test_a_spec_survives_its_journey() -> None:
    inputs = (
        Feature(name="a", dtype="string", nullable=False, transform=Category(dim=3)),
        Feature(name="b", dtype="timestamp", nullable=True, transform={"as": "cyclic", "period": "day"}),  # type: ignore[arg-type] # as a file says it
    )
    label = Label(name="y", task="multiclass", classes=("low", "high"))
    spec = FeatureSpec(inputs=inputs, crosses=(Cross(columns=("a", "b")),), label=label, key=("k",))
    assert FeatureSpec.model_validate_json(spec.model_dump_json(by_alias=True)) == spec
    assert spec.input("b").transform.kind == "cyclic"


@pytest.mark.parametrize(
    "transform",
    [
        {"as": "cyclic", "period": 0},
        {"as": "cyclic", "period": -1},
        {"as": "cyclic", "period": NAN},
        {"as": "cyclic", "period": "decade"},
        {"as": "category", "dim": 0},
        {"as": "numeric", "period": 3},
        {"as": "text"},
        {},
    ],
)
def test_transforms_that_cannot_be(transform: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Transform).validate_python(transform)


def test_a_spec_never_changes() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        feature("bool").name = "other"


def test_periods_follow_from_each_other() -> None:
    assert PERIODS_US["day"] == 24 * PERIODS_US["hour"]
    assert PERIODS_US["week"] == 7 * PERIODS_US["day"]
    assert PERIODS_US["year"] == pytest.approx(365.2425 * PERIODS_US["day"])


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("1970-01-01", 0),
        ("1970-01-01T00:00:01.5", 1_500_000),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:59:59Z", -1_000_000),
    ],
)
def test_timestamps_as_models_take_them(text: str, microseconds: int) -> None:
    assert microseconds_of(text) == microseconds
    assert microseconds_of(moment_of(microseconds).isoformat()) == microseconds


def test_what_is_no_timestamp() -> None:
    with pytest.raises(ValueError, match="isoformat"):
        microseconds_of("yesterday")
    with pytest.raises(OverflowError):
        moment_of(2**63)
