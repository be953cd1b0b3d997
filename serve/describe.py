"""What a model of Millrace says of itself beyond its tensors: a row that it takes, the names of its classes."""

from typing import Any, Final

from pipelines.features import FeatureSpec

_VALUES: Final = {
    "float32": 1.5,
    "float64": 1.5,
    "int64": 1,
    "bool": True,
    "string": "text",
    "timestamp": "2013-01-31T12:00:00Z",
}


def example_row(spec: FeatureSpec) -> dict[str, Any]:
    """A row that a model takes, for its documentation."""
    return {feature.name: _VALUES[feature.dtype] for feature in spec.inputs}


def class_labels(spec: FeatureSpec | None) -> list[str]:
    """The names of a classifier's classes in the order of its scores; none of other models."""
    return [str(label) for label in spec.label.classes] if spec else []
