"""Which tensor is for which input; what is refused is tested with whole requests, see `test_oip`."""

import numpy as np
import pytest

from serve.errors import InvalidRequest
from serve.servables.signatures import PREDICT, Signature, TensorInfo
from serve.values.named_tensors import decode_tensors, read_tensors
from tests.serve.protocols.test_oip import SIGNATURES, tensor

SIGNATURE = SIGNATURES["serving_default"]


def test_every_problem_is_told_at_once() -> None:
    wrong = [tensor("x", shape=[9]), tensor("s", datatype="FP32")]
    with pytest.raises(InvalidRequest, match=r"input 'x': expected shape .*; input 's': expected datatype BYTES"):
        read_tensors(wrong, memoryview(b""), SIGNATURE)
    values = read_tensors([tensor("x", data=[1, 2, 3, "4"]), tensor("s", data=["a", 5])], memoryview(b""), SIGNATURE)
    with pytest.raises(InvalidRequest, match=r"input 'x', value 3: .*; input 's', value 1: "):
        decode_tensors(values)


def test_tensors_of_nothing_are_not_taken_for_millions_of_rows() -> None:
    free = {"s": Signature("s", PREDICT, {"x": TensorInfo("x", "float32", None)}, {})}["s"]
    for shape in ([2**31 - 1, 0], [0, 2**31 - 1]):
        with pytest.raises(InvalidRequest, match="nothing in it, and a size of more than"):
            read_tensors([tensor("x", shape=shape, data=[])], memoryview(b""), free)
    with pytest.raises(InvalidRequest, match="shape: "):
        decode_tensors(read_tensors([tensor("x", shape=[1] * 65, data=[1])], memoryview(b""), free))


def test_values_stay_as_they_came_until_they_are_asked_for() -> None:
    blob = np.array([1, 2, 3, 4], np.float32).tobytes()
    x = tensor("x", data=None, parameters={"binary_data_size": len(blob)})
    binary, text = read_tensors([x, tensor("s")], memoryview(blob), SIGNATURE)
    assert isinstance(binary.values, memoryview)
    assert text.values == ["a", "b"]
    assert decode_tensors([binary, text])["x"].tolist() == [[1, 2], [3, 4]]


def test_a_column_of_a_table_may_have_a_second_dimension_of_one() -> None:
    column = {"s": Signature("s", PREDICT, {"x": TensorInfo("x", "float32", (-1,))}, {})}["s"]
    for data in ([1, 2], [[1], [2]]):
        read = read_tensors([tensor("x", shape=[2, 1], data=data)], memoryview(b""), column)
        assert decode_tensors(read)["x"].tolist() == [1, 2]
    blob = np.array([1, 2], np.float32).tobytes()
    x = {"name": "x", "datatype": "FP32", "shape": [2, 1], "parameters": {"binary_data_size": len(blob)}}
    assert decode_tensors(read_tensors([x], memoryview(blob), column))["x"].tolist() == [1, 2]
    with pytest.raises(InvalidRequest, match=r"expected shape \[-1\], found \[1, 2\]"):
        read_tensors([tensor("x", shape=[1, 2], data=[1, 2])], memoryview(b""), column)


@pytest.mark.case("R")
def test_base64_is_decoded() -> None:
    base64 = {"content_type": "base64"}
    s = tensor("s", data=["YQ==", "//4A"], parameters=base64)
    assert decode_tensors(read_tensors([tensor("x"), s], memoryview(b""), SIGNATURE))["s"].tolist() == [
        b"a",
        b"\xff\xfe\0",
    ]
    bad = tensor("s", data=["YQ==", "not base64!"], parameters=base64)
    with pytest.raises(InvalidRequest, match=r"input 's', value 1: Unable to base64 decode"):
        decode_tensors(read_tensors([tensor("x"), bad], memoryview(b""), SIGNATURE))
    with pytest.raises(InvalidRequest, match=r"input 'x': content_type base64 is for datatype BYTES"):
        read_tensors([tensor("x", parameters=base64), tensor("s")], memoryview(b""), SIGNATURE)


@pytest.mark.case("R")
@pytest.mark.parametrize("content_type", ["hg_jsonlist", "application/json", 5, ["base64"]])
def test_a_content_type_that_would_mean_other_values_is_refused(content_type: object) -> None:
    s = tensor("s", parameters={"content_type": content_type})
    with pytest.raises(
        InvalidRequest, match=r"input 's': parameters: content_type .* is not supported; supported are base64, datetime"
    ):
        read_tensors([tensor("x"), s], memoryview(b""), SIGNATURE)


@pytest.mark.parametrize("content_type", ["np", "pd", "str", "datetime", "", None])
def test_a_content_type_that_changes_nothing(content_type: str | None) -> None:
    s = tensor("s", parameters={"content_type": content_type})
    assert decode_tensors(read_tensors([tensor("x"), s], memoryview(b""), SIGNATURE))["s"].tolist() == [b"a", b"b"]
