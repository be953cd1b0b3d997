"""The sections `features`, `train` and `evaluate` of a product file."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from millrace.config.sections.names import ColumnName, DottedPath, InputName
from millrace.features.spec import Cross, Task, Transform
from millrace.section import Section

_OF_CLASSES = ("auc", "pr_auc", "log_loss", "accuracy", "precision", "recall", "f1", "calibration_error")

METRICS: dict[Task, tuple[str, ...]] = {
    "binary": _OF_CLASSES,
    "multiclass": _OF_CLASSES,
    "regression": ("mae", "rmse", "r2"),
}
"""Metrics that a gate may name, by task."""


class LabelColumn(Section):
    """The column that the model predicts; a name alone stands for ``{column: name}``."""

    column: ColumnName
    """Name of the column."""
    log: bool = False
    """Predict log(1 + value) and return the value: for amounts that differ by orders of magnitude (regression)."""
    missing: Literal["refuse", "leave_out"] = "refuse"
    """If rows have no label, `refuse` fails, and `leave_out` neither trains nor evaluates on them; they are scored."""


def _as_column(value: object) -> object:
    return {"column": value} if isinstance(value, str) else value


class Features(Section):
    """The label and the inputs of the model."""

    label: Annotated[LabelColumn, BeforeValidator(_as_column, json_schema_input_type=ColumnName | LabelColumn)]
    """Column that the model predicts."""
    banned: tuple[str, ...] = ()
    """Columns that must not be inputs, because their values are known too late; ``arr_*`` bans all that start so."""
    inputs: dict[InputName, Transform] = Field(min_length=1)
    """Input columns, each with the transform that encodes it."""
    empty_inputs: Literal["refuse", "drop"] = "refuse"
    """If an input has no value in the train split, `refuse` fails, and `drop` trains without it and logs a warning."""
    crosses: tuple[Cross, ...] = ()
    """Combinations of categories that get an embedding of their own."""


class Train(Section):
    """How the model is built and trained."""

    task: Task
    """Kind of label: `binary` (two classes), `multiclass` or `regression`."""
    model: DottedPath = "train.models.tabular:build"
    """``module:function`` that builds the trunk: the Keras model from encoded inputs to scores."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options for the function in `model`."""
    loss: Literal["squared", "poisson"] = "squared"
    """Loss of a regression: `squared` error, or `poisson` for counts and other values of at least 0.

    With `poisson` the model predicts the logarithm of the mean, and larger values may have larger errors.
    """
    epochs: Annotated[int, Field(ge=1, le=10_000)] | Literal["auto"] = "auto"
    """Maximum number of passes over the train split; `auto` takes about 4,000 steps, and 10 to 250 passes."""
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Rows in a training step, over all ranks together; `auto` takes about a hundredth of the rows, 16 to 16,384."""
    learning_rate: float = Field(2e-3, gt=0)
    """Learning rate of Adam at the first step; it falls along a cosine to 0 at the last step of the last epoch."""
    patience: Annotated[int, Field(ge=1)] | Literal["auto"] | None = "auto"
    """Stop after this many epochs without a better validation loss; null runs all epochs.

    `auto` takes an eighth of the epochs, and at least 5. The published model always has the weights of the best epoch.
    Without validation rows the training loss decides.
    """
    class_weights: Literal["balanced"] | None = None
    """`balanced` weights each class by the inverse of its frequency; by default all rows have the same weight."""
    seed: int = Field(7, ge=0, lt=2**31)
    """Seed of the random numbers; the same seed, data and world size give the same model."""
    deadline_s: float = Field(45.0, ge=1)
    """Seconds without progress after which a rank ends itself and the run fails.

    Progress is, for example, 16 training steps, a batch of rows that was read, or a retry of the storage. Raise it if
    16 steps, the start of TensorFlow on all ranks, or the export of the model take longer. The check of the exported
    model may take three times as long, and at least two minutes.
    """
    memory_budget_mb: int = Field(1024, ge=1)
    """Memory of each rank for encoded rows of the train split, in MiB, and the same again for the validation split.

    If the rows of a split do not fit, they are written to a file in Spark's local folder and read from there.
    """


class Gate(Section):
    """Bounds on one metric; at least one must be set."""

    min: float | None = None
    """Smallest allowed value of the metric."""
    max: float | None = None
    """Largest allowed value of the metric."""
    vs_previous: float | None = None
    """Smallest allowed improvement over the previous model version; -0.005 allows the metric to be 0.005 worse."""

    @model_validator(mode="after")
    def _bounds(self) -> "Gate":
        if self.min is None and self.max is None and self.vs_previous is None:
            raise ValueError("a gate without a bound passes everything; expected min, max or vs_previous")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("no value is at least min and at most max")
        return self


class Evaluate(Section):
    """How the model is evaluated on the test split."""

    slices: tuple[ColumnName, ...] = ()
    """Columns; metrics are reported for each of their values, at most 200, and for all other values together."""
    gates: dict[str, Gate] = Field(default_factory=dict)
    """Bounds by metric; a model outside of a bound is not published."""
