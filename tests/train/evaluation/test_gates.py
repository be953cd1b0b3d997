"""Gates name every bound that a model does not meet."""

import pytest

from millrace.config.sections.train import Gate
from train.errors import GateFailed
from train.evaluation.gates import check_gates


def test_a_model_inside_its_bounds_passes() -> None:
    gates = {"auc": Gate(min=0.7, vs_previous=-0.005), "log_loss": Gate(max=0.5)}
    assert check_gates(gates, {"auc": 0.8, "log_loss": 0.4}, {"auc": 0.804}) == []


def test_each_broken_bound_is_named_with_its_values() -> None:
    gates = {"auc": Gate(min=0.7, vs_previous=-0.005), "log_loss": Gate(max=0.5, vs_previous=0.0)}
    failures = check_gates(gates, {"auc": 0.69, "log_loss": 0.6}, {"auc": 0.7, "log_loss": 0.55})
    assert failures == [
        "auc 0.6900 is below 0.7 by 0.0100",
        "auc 0.6900 against 0.7000 of the previous version: -0.0100, at least -0.005 is needed",
        "log_loss 0.6000 is above 0.5 by 0.1000",
        "log_loss 0.6000 against 0.5500 of the previous version: -0.0500, at least +0.0 is needed",
    ]
    assert str(GateFailed(failures)) == "the model is not published: " + "; ".join(failures)


UNKNOWN = "auc could not be measured on the test rows, such as with one class or equal labels"


@pytest.mark.case("B1")
@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("gate", [Gate(min=0.5), Gate(max=0.5), Gate(vs_previous=-1.0)])
def test_a_metric_without_a_value_fails(value: float | None, gate: Gate) -> None:
    assert check_gates({"auc": gate}, {"auc": value}, {"auc": 0.5}) == [UNKNOWN]
    assert check_gates({"auc": gate}, {}, None) == [UNKNOWN]


def test_without_a_previous_version_only_the_bounds_count() -> None:
    assert check_gates({"auc": Gate(vs_previous=0.1)}, {"auc": 0.5}, None) == []
