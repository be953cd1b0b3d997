"""The builder makes a trunk of the widths that the encoding asks for."""

import numpy as np
import pytest
from pydantic import ValidationError

from train.models.tabular import build
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
