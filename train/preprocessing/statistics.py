"""Statistics of the train split that preprocessing needs; `train.preprocessing.measure` computes them."""

from collections.abc import Iterator
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

MANY_VALUES: Final = 50
"""A category with more values than this may have too few rows for each."""
FEW_ROWS: Final = 4
"""With fewer rows than this for each value of a category, a model learns the rows by heart."""


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


def warnings_of(statistics: Statistics, rows: int) -> Iterator[str]:
    """What a user should know before a model is trained on a train split of so many rows."""
    if statistics.empty:
        yield f"training without inputs that have no value: {', '.join(statistics.empty)}"
    for name, words in statistics.vocabularies.items():
        if len(words) > MANY_VALUES and rows < FEW_ROWS * len(words):
            yield (
                f"category '{name}' has {len(words):,} values in {rows:,} rows, so a model learns rows by heart: "
                "use a number or a time as such, set a higher min_count, or leave the column out"
            )
