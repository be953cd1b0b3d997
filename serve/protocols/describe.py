"""Example rows and class labels of models that Millrace trained."""

from typing import Any, Final

from millrace.features.spec import Domain, Feature, FeatureSpec, Range

_VALUES: Final = {
    "float32": 1.5,
    "float64": 1.5,
    "int64": 1,
    "bool": True,
    "string": "text",
    "timestamp": "2013-01-31T12:00:00Z",
}


def example_row(spec: FeatureSpec) -> dict[str, Any]:
    """A valid row of a model, for the OpenAPI document."""
    return {feature.name: _example_value(feature) for feature in spec.inputs}


def _example_value(feature: Feature) -> Any:
    """A value that the contract allows; of a quantity, the middle of the training data's range."""
    domain, observed = feature.domain or Domain(), feature.observed or Range()
    if domain.values:
        return bool(domain.values[0]) if feature.dtype == "bool" else domain.values[0]
    if observed.min is not None and observed.max is not None:
        return _as_number(feature, (observed.min + observed.max) / 2)
    low, high = domain.min, domain.max
    if low is not None:
        return _as_number(feature, low + 1 if high is None else (low + high) / 2)
    return _VALUES[feature.dtype] if high is None else _as_number(feature, high - 1)


def _as_number(feature: Feature, value: float) -> int | float:
    return round(value, 3) if feature.dtype in ("float32", "float64") else round(value)


def class_labels(spec: FeatureSpec | None) -> list[str]:
    """The labels of a classifier in the order of its scores; empty for other models."""
    return [str(label) for label in spec.label.classes] if spec else []
