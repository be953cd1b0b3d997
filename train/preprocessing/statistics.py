"""Statistics of the train split that preprocessing needs; `train.preprocessing.measure` computes them."""

from pydantic import BaseModel, ConfigDict, Field


class NumericStatistics(BaseModel):
    """Statistics of the finite values of an input; mean, deviation and quantiles are of log(1 + x) if `log` is set."""

    model_config = ConfigDict(frozen=True)

    mean: float
    std: float
    min: float
    """Smallest value in the table, before the logarithm."""
    max: float
    """Largest value in the table, before the logarithm."""
    quantiles: tuple[float, ...] = ()
    """Values at equal steps of probability, from 0 to 1, in a sample of the rows."""


class LabelStatistics(BaseModel):
    """Statistics of the label in the train split, and how many labels are missing in each split."""

    model_config = ConfigDict(frozen=True)

    rows: dict[str, int] = Field(default_factory=dict)
    """Rows by split."""
    missing: dict[str, int] = Field(default_factory=dict)
    """Rows without a label, by split; only splits that have some."""
    counts: tuple[tuple[int | str, int], ...] = ()
    """Rows by class, in order of the class value; empty for a regression."""
    mean: float = 0.0
    std: float = 1.0
    min: float = 0.0
    """Smallest value in all splits."""
    log_mean: float = 0.0
    """Mean of log(1 + value); 0 if it is not needed."""
    log_std: float = 1.0


class Statistics(BaseModel):
    """All statistics, by column."""

    model_config = ConfigDict(frozen=True)

    numeric: dict[str, NumericStatistics]
    vocabularies: dict[str, tuple[int, ...] | tuple[str, ...]]
    label: LabelStatistics
    empty: tuple[str, ...] = ()
    """Inputs without a value; the model does not use them."""
