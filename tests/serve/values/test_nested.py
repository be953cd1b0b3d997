"""Nested lists as tensors; the messages themselves are TensorFlow Serving's, see `test_tfs`."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.servables.signatures import TensorInfo
from serve.values.nested import MAX_RANK, BadRow, BadShape, decode_rows, decode_tensor, flatten, shape_of

FLOATS = TensorInfo("x", "float64", None)


@given(shape=st.lists(st.integers(0, 4), max_size=5).map(tuple))
def test_every_tensor_comes_back(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(1).random(shape)
    decoded = decode_tensor(values.tolist(), FLOATS)
    cut = shape[: shape.index(0) + 1] if 0 in shape else shape  # nothing is written of what an empty list would hold
    np.testing.assert_array_equal(decoded, values.reshape(cut))
    if shape and shape[0]:
        np.testing.assert_array_equal(decode_rows(values.tolist(), FLOATS), values.reshape(cut))


@pytest.mark.parametrize("value", [[1, [2]], [[1], 2], [[1, 2], [3]], [[[1]], [2]], [[], [1]], [[[]], []]])
def test_ragged_lists_are_no_tensor(value: Any) -> None:
    with pytest.raises(BadShape):
        decode_tensor(value, FLOATS)
    with pytest.raises(BadRow) as caught:
        decode_rows(value, FLOATS)
    assert caught.value.row == 1


def test_a_bad_value_knows_its_row() -> None:
    rows = [[[1.0, 2.0]], [[3.0, None]]]
    with pytest.raises(BadRow, match="row 1, input 'x': JSON Value: null"):
        decode_rows(rows, FLOATS)


def test_no_list_is_followed_without_end() -> None:
    deep: Any = 1
    for _ in range(MAX_RANK + 1):
        deep = [deep]
    with pytest.raises(BadShape, match="unexpected level"):
        shape_of(deep)
    assert len(shape_of(deep[0])) == MAX_RANK


def test_flattens_in_row_major_order() -> None:
    assert flatten([[1, 2], [3, 4]], (2, 2)) == [1, 2, 3, 4]
    assert flatten(5, ()) == [5]
