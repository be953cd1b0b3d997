"""The builder makes a trunk of the widths that the encoding asks for."""

import numpy as np
import pytest
from pydantic import ValidationError

from train.models.tabular import build, positions
from train.preprocessing.layers import CATEGORY, NUMERIC, EncodedCategory, Encoding

pytestmark = pytest.mark.tf


@pytest.mark.parametrize(
    ("numeric", "categories"),
    [(3, (EncodedCategory("a", 10, 4),)), (0, (EncodedCategory("a", 10, 4),)), (3, ())],
)
def test_scores_have_one_row_each(numeric: int, categories: tuple[EncodedCategory, ...]) -> None:
    trunk = build(Encoding(numeric, categories), 2, {"hidden": [8], "dropout": 0.5})
    inputs = {NUMERIC: np.zeros((5, numeric), np.float32), CATEGORY: np.ones((5, len(categories)), np.int32)}
    assert trunk(inputs).shape == (5, 2)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ValidationError, match="hiden"):
        build(Encoding(1, ()), 1, {"hiden": [8]})
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        build(Encoding(1, ()), 1, {"hidden": [0]})


def test_positions_in_bins_are_those_of_numpy() -> None:
    bins = ((-1.0, 0.0, 0.5), (), (2.0, 4.0))
    numbers = np.array([[-9, 1, 3], [-0.25, 2, 1e30], [0.4, 3, -1e30], [0.5, 4, 2]], np.float32)
    expected = [
        np.interp(numbers[:, column], bins[column][first : first + 2], [0, 1])
        for column, first in ((0, 0), (0, 1), (2, 0))
    ]
    assert np.asarray(positions(numbers, bins)) == pytest.approx(np.stack(expected, axis=1))


def test_bins_widen_the_first_layer_and_can_be_turned_off() -> None:
    def inputs_of(**options: object) -> int:
        trunk = build(Encoding(3, (), ((0.0, 1.0, 2.0), (), (0.0, 1.0))), 1, {"hidden": [8], **options})
        return int(next(layer for layer in trunk.layers if layer.weights).kernel.shape[0])

    assert inputs_of() == 3 + 3
    assert inputs_of(bins=False) == 3
    assert np.isfinite(build(Encoding(1, (), ((),)), 1, {})(inputs(1))).all()


def inputs(numeric: int) -> dict[str, np.ndarray]:
    return {NUMERIC: np.ones((5, numeric), np.float32), CATEGORY: np.zeros((5, 0), np.int32)}
