"""What a model of ours says of itself."""

import pytest

from serve.describe import class_labels, example_row
from serve.protocols.values import decode_values
from tests.serve.models import spec_of
from tests.serve.signatures import ours


def test_the_example_is_a_row_that_the_model_takes() -> None:
    row = example_row(spec_of("binary"))
    for name, info in ours()["serving_default"].inputs.items():
        assert decode_values([row[name]], info).shape == (1,)


@pytest.mark.parametrize(("task", "labels"), [("binary", ["0", "1"]), ("multiclass", ["low", "mid", "high"])])
def test_labels_stand_in_the_order_of_the_scores(task: str, labels: list[str]) -> None:
    assert class_labels(spec_of(task)) == labels  # type: ignore[arg-type] # the tasks of the list above
    assert class_labels(None) == []
