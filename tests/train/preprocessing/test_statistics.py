"""What a user should know before training."""

import pytest

from train.preprocessing.statistics import LabelStatistics, Statistics, warnings_of


@pytest.mark.parametrize(
    ("values", "rows", "warns"), [(51, 203, True), (51, 204, False), (50, 60, False), (9_000, 10_000, True)]
)
def test_a_category_with_few_rows_for_each_value(values: int, rows: int, warns: bool) -> None:
    words = tuple(str(number) for number in range(values))
    statistics = Statistics(numeric={}, vocabularies={"id": words, "kind": ("a", "b")}, label=LabelStatistics())
    found = list(warnings_of(statistics, rows))
    assert [text.startswith(f"category 'id' has {values:,} values in {rows:,} rows") for text in found] == [
        True
    ] * warns


def test_inputs_without_a_value() -> None:
    statistics = Statistics(numeric={}, vocabularies={}, label=LabelStatistics(), empty=("a", "b"))
    assert list(warnings_of(statistics, 10)) == ["training without inputs that have no value: a, b"]
