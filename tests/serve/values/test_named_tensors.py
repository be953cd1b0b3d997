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
