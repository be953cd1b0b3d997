"""Statistics travel to the ranks and back without loss."""

from train.preprocessing.statistics import Statistics


def test_they_survive_json(statistics: Statistics) -> None:
    again = Statistics.model_validate_json(statistics.model_dump_json())
    assert again == statistics
    assert again.vocabularies["corners"] == (0, 8, 1, 2)
