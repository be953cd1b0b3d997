"""With which versions a new model is compared."""

import pytest

from millrace.features.spec import FeatureSpec
from millrace.tables.versions import TableVersion
from train.evaluation.previous import why_not


def test_a_version_with_the_same_label_and_inputs_is_compared(spec: FeatureSpec, table: TableVersion) -> None:
    assert why_not(spec, spec, table, ()) == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "colour"}, "it predicts colour"),
        ({"task": "regression", "classes": ()}, "it predicts kind (regression)"),
        ({"classes": ("ball", "box")}, "it has other classes of kind"),
    ],
)
def test_another_label(spec: FeatureSpec, table: TableVersion, change: dict[str, object], reason: str) -> None:
    old = spec.model_copy(update={"label": spec.label.model_copy(update=change)})
    assert why_not(old, spec, table, ()).startswith(reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "gone"}, "its input 'gone' is no column of the table any more"),
        ({"dtype": "float32"}, "has another type now"),
        ({"nullable": False}, "may be missing now"),
    ],
)
def test_other_inputs(spec: FeatureSpec, table: TableVersion, change: dict[str, object], reason: str) -> None:
    first, *others = spec.inputs
    old = spec.model_copy(update={"inputs": (first.model_copy(update=change), *others)})
    assert reason in why_not(old, spec, table, ())
    if "nullable" in change:
        assert why_not(old, spec, table, {first.name}) == "", "the contract still says that it is never missing"
