"""The typed sections `features`, `train` and `evaluate`: from a clean table to a model version."""

from typing import Any, Literal

from pydantic import Field, model_validator

from millrace.config.sections.names import ColumnName, DottedPath
from millrace.features.spec import Cross, Task, Transform
from millrace.section import Section

METRICS: dict[Task, tuple[str, ...]] = {
    "binary": ("auc", "log_loss", "accuracy", "calibration_error"),
    "multiclass": ("auc", "log_loss", "accuracy", "calibration_error"),
    "regression": ("mae", "rmse", "r2"),
}
"""What a gate may name, by task."""


class Features(Section):
    """What the model may see."""

    label: ColumnName
    """What it predicts."""
    banned: tuple[str, ...] = ()
    """Columns known only later; ``arr_*`` bans a family. Using one as an input is an error."""
    inputs: dict[ColumnName, Transform] = Field(min_length=1)
    """Column: how the model reads it."""
    empty_inputs: Literal["refuse", "drop"] = "refuse"
    """What becomes of an input without a single value in the train split; `drop` trains without it, and says so."""
    crosses: tuple[Cross, ...] = ()
    """Categories that are embedded together."""


class Train(Section):
    """How the model is built and fitted."""

    task: Task
    """What kind of label it is."""
    model: DottedPath = "train.models.tabular:build"
    """``module:function`` that builds the trunk on the encoded inputs."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Passed to the builder."""
    epochs: int = Field(5, ge=1, le=10_000)
    """At most this many passes over the train split."""
    batch_size: int = Field(2048, ge=1)
    """Rows a step, over all ranks together."""
    learning_rate: float = Field(2e-3, gt=0)
    """Peak of Adam's cosine decay."""
    patience: int | None = Field(None, ge=1)
    """Stop after this many epochs without a better validation loss; the best epoch's weights are kept in any case."""
    class_weights: Literal["balanced"] | None = None
    """`balanced` weighs classes by the inverse of their frequency."""
    seed: int = Field(7, ge=0, lt=2**31)
    """The same seed, data and world size give the same model."""
    deadline_s: float = Field(45.0, ge=1)
    """A rank that makes no step for this long ends the run."""
    memory_budget_mb: int = Field(1024, ge=1)
    """Encoded rows that a rank keeps between epochs; beyond it they are read again."""


class Gate(Section):
    """A bound on one metric; at least one of the two."""

    min: float | None = None
    """Least value of the metric."""
    max: float | None = None
    """Greatest value of the metric."""
    vs_previous: float | None = None
    """Least difference to the previous version, in the metric's good direction: -0.005 allows to be 0.005 worse."""

    @model_validator(mode="after")
    def _bounds(self) -> "Gate":
        if self.min is None and self.max is None and self.vs_previous is None:
            raise ValueError("a gate without a bound passes everything; expected min, max or vs_previous")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("no value is at least min and at most max")
        return self


class Evaluate(Section):
    """How the model is judged on the test split."""

    slices: tuple[ColumnName, ...] = ()
    """Columns whose values are judged one by one."""
    gates: dict[str, Gate] = Field(default_factory=dict)
    """Metric: bounds; a model outside is not published."""
