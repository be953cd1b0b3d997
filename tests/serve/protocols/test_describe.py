"""What a model of ours says of itself."""

from typing import Any

import pytest

from millrace.features.spec import Domain, Range
from serve.protocols.describe import class_labels, example_row
from serve.values.arrays import decode_values
from tests.serve.models import spec_of
from tests.serve.signatures import ours


def test_the_example_is_a_row_that_the_model_takes() -> None:
    row = example_row(spec_of("binary"))
    for name, info in ours()["serving_default"].inputs.items():
        assert decode_values([row[name]], info).shape == (1,)


@pytest.mark.parametrize(
    ("name", "domain", "observed", "example"),
    [
        ("amount", Domain(min=100), None, 101),
        ("amount", Domain(max=-5), None, -6),
        ("amount", Domain(min=0, excludes_min=True, max=0.5), None, 0.25),
        ("amount", Domain(min=0), Range(min=3, max=4.5), 3.75),
        ("count", None, Range(min=3, max=10), 6),
        ("city", Domain(values=("Rome", "Oslo")), None, "Rome"),
        ("flag", Domain(values=(1,)), None, True),
        ("seen", Domain(min=0, max=1001), None, 500),
    ],
)
def test_the_example_lies_in_the_domain(name: str, domain: Domain | None, observed: Range | None, example: Any) -> None:
    spec = spec_of("binary")
    changed = [
        f.model_copy(update={"domain": domain, "observed": observed}) if f.name == name else f for f in spec.inputs
    ]
    row = example_row(spec.model_copy(update={"inputs": tuple(changed)}))
    assert row[name] == example
    assert type(row[name]) is type(example) or name == "amount"


@pytest.mark.parametrize(("task", "labels"), [("binary", ["0", "1"]), ("multiclass", ["low", "mid", "high"])])
def test_labels_stand_in_the_order_of_the_scores(task: str, labels: list[str]) -> None:
    assert class_labels(spec_of(task)) == labels  # type: ignore[arg-type] # the tasks of the list above
    assert class_labels(None) == []
