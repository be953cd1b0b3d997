"""What the preprocessing layers must know of the train split; `train.preprocessing.measure` finds it out."""

from pydantic import BaseModel, ConfigDict


class NumericStatistics(BaseModel):
    """Of the finite values; mean and standard deviation after log(1 + x) where the feature asks for it."""

    model_config = ConfigDict(frozen=True)

    mean: float
    std: float
    min: float
    """As it is in the table."""
    max: float
    """As it is in the table."""


class LabelStatistics(BaseModel):
    """What a label's values are in the train split."""

    model_config = ConfigDict(frozen=True)

    rows: int
    missing: int
    counts: tuple[tuple[int | str, int], ...] = ()
    """Rows by class, in order of the class value; empty for a regression."""
    mean: float = 0.0
    std: float = 1.0


class Statistics(BaseModel):
    """Everything measured, by column."""

    model_config = ConfigDict(frozen=True)

    numeric: dict[str, NumericStatistics]
    vocabularies: dict[str, tuple[int, ...] | tuple[str, ...]]
    label: LabelStatistics
    empty: tuple[str, ...] = ()
    """Inputs without a value, which the model does without."""
