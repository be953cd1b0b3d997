"""The Open Inference Protocol's tensors, as JSON and as bytes."""

import math
import struct
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from millrace.features.encoding import INT64_MIN
from serve.errors import InvalidRequest
from serve.servables.signatures import DATATYPES, TensorInfo
from serve.values import tensors
from serve.values.arrays import decode_values
from serve.values.tensors import decode_binary, encode_binary, encode_json
from tests.serve.signatures import ours


def decode_json(data: Any, shape: tuple[int, ...], info: TensorInfo) -> Any:
    return decode_values(tensors.flat_values(data, shape, info), info).reshape(shape)


RNG = np.random.default_rng(3)


def array_of(dtype: str, shape: tuple[int, ...] = (2, 3)) -> Any:
    if dtype == "string":
        return np.array([f"é{n}".encode() for n in range(math.prod(shape))], object).reshape(shape)
    numbers = RNG.integers(0, 2, shape) if dtype == "bool" else RNG.integers(0, 100, shape)
    return numbers.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


@pytest.mark.parametrize("dtype", DATATYPES)
@pytest.mark.parametrize("shape", [(2, 3), (0, 4), (), (5,)])
def test_bytes_come_back(dtype: str, shape: tuple[int, ...]) -> None:
    values = array_of(dtype, shape)
    decoded = decode_binary(memoryview(encode_binary(values)), shape, TensorInfo("x", dtype, None))
    assert (tensors.dtype_of(decoded), decoded.shape) == (dtype, shape)
    np.testing.assert_array_equal(decoded, values)


def test_bytes_are_little_endian_and_strings_carry_their_length() -> None:
    assert encode_binary(np.array([1, -2], np.int16)) == b"\x01\x00\xfe\xff"
    assert encode_binary(np.array([1], ">i4")) == b"\x01\x00\x00\x00"
    assert encode_binary(np.array([True, False])) == b"\x01\x00"
    assert encode_binary(np.array([b"ab", b""], object)) == b"\x02\x00\x00\x00ab\x00\x00\x00\x00"
    assert encode_binary(np.array([[1, 2], [3, 4]], np.uint8).T) == b"\x01\x03\x02\x04"


@pytest.mark.parametrize("dtype", sorted(DATATYPES.keys() - tensors.BINARY_ONLY))
def test_json_comes_back_flat_or_nested(dtype: str) -> None:
    values, info = array_of(dtype), TensorInfo("x", dtype, None)
    listed = np.vectorize(bytes.decode, otypes=[object])(values).tolist() if dtype == "string" else values.tolist()
    flat = [value for row in listed for value in row]
    for data in (listed, flat):
        np.testing.assert_array_equal(decode_json(data, (2, 3), info), values)
    assert list(encode_json("x", values)) == flat


def test_a_bare_value_is_a_list_of_one() -> None:
    assert decode_json([7], (), TensorInfo("x", "int32", ())).shape == ()
    assert list(encode_json("x", np.array(7))) == [7]


@pytest.mark.parametrize(
    ("data", "shape", "dtype", "said"),
    [
        ([1, 2], (3,), "int32", "expected 3 values for shape"),
        ([], (1,), "int32", "expected 1 values"),
        ([[1, 2], [3]], (2, 2), "int32", "unexpected size: 1 at level: 1 expected size: 2"),
        ([[1], [2]], (2,), "int32", "unexpected level"),
        ("1", (1,), "int32", "'data' is not a list"),
        ([1.5], (1,), "int32", "not of expected type: int32"),
        ([1], (1,), "float16", "FP16 data via JSON is not supported"),
        ([1], (1,), "bfloat16", "BF16 data via JSON is not supported"),
    ],
)
def test_what_is_no_json_tensor(data: Any, shape: tuple[int, ...], dtype: str, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_json(data, shape, TensorInfo("x", dtype, None))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("data", "shape", "dtype", "said"),
    [
        (b"\0" * 7, (2,), "float32", "expected 8 bytes for shape [2] and datatype FP32, found 7"),
        (b"\0" * 9, (2,), "float32", "found 9"),
        (b"\2", (1,), "bool", "a BOOL is a byte of 0 or 1"),
        (b"\1\0\0", (1,), "string", "expected 1 strings, found 3 bytes"),
        (b"\5\0\0\0abc", (1,), "string", "string 0 is longer than the bytes that are left"),
        (b"\1\0\0\0ab", (1,), "string", "1 bytes are left after 1 strings"),
        (struct.pack("<I", 2**32 - 1), (1,), "string", "is longer than"),
        (b"\0\0\0\0", (2**31 - 1,), "string", "expected 2147483647 strings, found 4 bytes"),
        (b"\0\0\0\0\1\0\0\0", (2,), "string", "string 1 is longer than"),
    ],
)
def test_what_is_no_binary_tensor(data: bytes, shape: tuple[int, ...], dtype: str, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_binary(memoryview(data), shape, TensorInfo("x", dtype, None))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("amount", np.array([1.5], np.float32), np.array([1, np.nan], np.float32)),
        ("weight", np.array([np.nan, 1.0]), np.array([np.inf])),
        ("count", np.array([1]), np.array([INT64_MIN])),
        ("code", np.array([INT64_MIN]), None),
        ("maybe", np.array([0, 1, INT64_MIN]), np.array([2])),
    ],
)
def test_bytes_for_a_model_of_ours_are_what_json_may_say(name: str, good: Any, bad: Any) -> None:
    info = ours()["serving_default"].inputs[name]
    decode_binary(memoryview(encode_binary(good)), good.shape, info)
    if bad is not None:
        with pytest.raises(InvalidRequest, match="is not accepted"):
            decode_binary(memoryview(encode_binary(bad)), bad.shape, info)


@pytest.mark.parametrize(
    "values",
    [np.array([1, np.nan]), np.array([np.inf], np.float32), np.array([1], np.float16), np.array([b"\xff"], object)],
)
def test_what_has_no_json_form_asks_for_binary(values: Any) -> None:
    with pytest.raises(InvalidRequest, match="ask for it as binary"):
        encode_json("y", values)


def test_other_dtypes_cannot_be_sent() -> None:
    with pytest.raises(InvalidRequest, match="no datatype for complex64"):
        tensors.datatype_of("complex64")
