"""What every servable does with answers, wherever TensorFlow runs."""

import numpy as np
import pytest

from serve.errors import InvalidRequest, NonFiniteOutput
from serve.servables.servable import Servable, non_finite_rows
from tests.serve.models import POISON
from tests.serve.servables.test_saved_model import rows

pytestmark = pytest.mark.tf


def test_answers_only_the_outputs_asked_for(tiny: Servable) -> None:
    assert list(tiny.infer(rows(), ["class"])) == ["class"]
    with pytest.raises(InvalidRequest, match="no output 'clas'; it has class, probability"):
        tiny.infer(rows(), ["clas"])


def test_an_answer_that_is_no_number_is_an_error(tiny: Servable) -> None:
    inputs = rows(5)
    inputs["amount"][[1, 3]] = POISON
    with pytest.raises(NonFiniteOutput) as caught:
        tiny.infer(inputs)
    assert (caught.value.output, caught.value.rows) == ("probability", (1, 3))


def test_finds_rows_that_are_no_numbers() -> None:
    outputs = {
        "p": np.array([[1, 2], [np.nan, 1], [1, np.inf]]),
        "q": np.ones(3),
        "class": np.array([b"a"] * 3, object),
    }
    assert {name: bad.tolist() for name, bad in non_finite_rows(outputs).items()} == {"p": [False, True, True]}
