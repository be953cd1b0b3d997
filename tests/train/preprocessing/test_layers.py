"""Raw columns become numbers and indices; whatever is missing or not finite does no harm."""

import numpy as np
import pyarrow as pa
import pytest

from millrace.errors import ConfigError
from millrace.features.encoding import INT64_MIN, Dictionary, encode
from millrace.features.spec import Category, FeatureSpec
from train.data.tensors import encode_labels, to_tensor
from train.preprocessing.layers import CATEGORY, NUMERIC, build_preprocessing, describe, numeric_width
from train.preprocessing.statistics import Statistics

pytestmark = pytest.mark.tf

MORNING = 6 * 3_600_000_000
ROW = {"colour": "red", "round": 1, "corners": 8, "weight": 4.6, "size": 2.0, "found": MORNING}


def encoded(spec: FeatureSpec, statistics: Statistics, **values: object) -> tuple[np.ndarray, np.ndarray]:
    import tensorflow as tf

    row = {**ROW, **values}
    inputs = {f.name: tf.constant([row[f.name]], f.tensor_dtype) for f in spec.inputs}
    outputs = build_preprocessing(spec, statistics)(inputs)
    return outputs[NUMERIC].numpy()[0], outputs[CATEGORY].numpy()[0]


def test_a_whole_row(spec: FeatureSpec, statistics: Statistics) -> None:
    numbers, indices = encoded(spec, statistics)
    # weight, its flag; log size, its flag; sine, cosine, flag of the hour: a quarter of the day
    expected = [(4.6 - 2.6) / 2.0, 0, (np.log(3.0) - 1.1) / 0.7, 0, 1, 0, 0]
    assert numbers == pytest.approx(expected, abs=1e-5)
    assert indices.tolist() == [2, 2, 3, 2 * 4 + 2]


def test_widths_are_known_without_a_graph(spec: FeatureSpec, statistics: Statistics) -> None:
    encoding = describe(spec, statistics)
    assert encoding.numeric == sum(numeric_width(f) for f in spec.inputs) == 7
    assert [(c.name, c.size) for c in encoding.categories] == [
        ("colour", 5),
        ("round", 4),
        ("corners", 6),
        ("colour_x_round", 20),
    ]


@pytest.mark.case("B13")
def test_the_width_of_an_embedding_has_a_bound(spec: FeatureSpec, statistics: Statistics) -> None:
    def dim(words: int) -> int:
        vocabularies = {**statistics.vocabularies, "corners": tuple(range(words))}
        encoding = describe(spec, statistics.model_copy(update={"vocabularies": vocabularies}))
        return next(each.dim for each in encoding.categories if each.name == "corners")

    assert spec.input("corners").transform.model_dump()["dim"] == 3
    without = spec.input("corners").model_copy(update={"transform": Category(**{"as": "category"})})
    spec = spec.model_copy(update={"inputs": tuple(without if f.name == "corners" else f for f in spec.inputs)})
    assert [dim(words) for words in (1, 8, 1_000, 100_000, 1_000_000)] == [3, 6, 77, 512, 512]


@pytest.mark.case("B14")
def test_a_cross_with_too_many_combinations_is_refused(spec: FeatureSpec, statistics: Statistics) -> None:
    vocabularies = {**statistics.vocabularies, "colour": tuple(map(str, range(99_998))), "round": tuple(range(498))}
    describe(spec, statistics.model_copy(update={"vocabularies": vocabularies}))
    vocabularies["round"] = tuple(range(499))
    message = r"colour and round have 50,100,000 combinations \(100,000 of colour x 501 of round\), at most 50,000,000"
    with pytest.raises(ConfigError, match=message):
        describe(spec, statistics.model_copy(update={"vocabularies": vocabularies}))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1e300])
def test_what_is_not_finite_counts_as_missing(spec: FeatureSpec, statistics: Statistics, value: float) -> None:
    numbers, _ = encoded(spec, statistics, weight=value)
    assert numbers[:2] == pytest.approx([0, 1])
    assert np.isfinite(numbers).all()


def test_missing_values_of_every_type(spec: FeatureSpec, statistics: Statistics) -> None:
    gone = {"colour": "", "round": INT64_MIN, "corners": INT64_MIN, "size": float("nan"), "found": INT64_MIN}
    numbers, indices = encoded(spec, statistics, **gone)
    assert numbers[2:] == pytest.approx([0, 1, 0, 0, 1])
    assert indices.tolist() == [0, 0, 0, 0]


def test_unseen_categories_share_one_bucket(spec: FeatureSpec, statistics: Statistics) -> None:
    _, indices = encoded(spec, statistics, colour="mauve", corners=77)
    assert indices[:3].tolist() == [1, 2, 1]


def test_a_timestamp_keeps_its_hour_far_from_1970(spec: FeatureSpec, statistics: Statistics) -> None:
    # As a float32, microseconds of our century are wrong by minutes.
    numbers, _ = encoded(spec, statistics, found=1_700_000_000_000_000 // 86_400_000_000 * 86_400_000_000 + MORNING)
    assert numbers[4:6] == pytest.approx([1, 0], abs=1e-5)


def test_strings_are_gathered_over_their_dictionary(spec: FeatureSpec) -> None:
    column = pa.array(["red", None, "red", "green"])
    values = encode(column, spec.input("colour"))
    assert isinstance(values, Dictionary)
    assert to_tensor(values).numpy().tolist() == [b"red", b"", b"red", b"green"]


def test_labels_become_class_numbers(spec: FeatureSpec) -> None:
    assert encode_labels(pa.array(["box", "ball", "egg"]), spec).tolist() == [1, 0, -1]


def test_bins_are_in_units_of_the_column(spec: FeatureSpec, statistics: Statistics) -> None:
    def bins(*quantiles: float) -> list[list[float]]:
        weight = statistics.numeric["weight"].model_copy(update={"quantiles": quantiles})
        numeric = {**statistics.numeric, "weight": weight}
        encoding = describe(spec, statistics.model_copy(update={"numeric": numeric}))
        assert len(encoding.bins) == encoding.numeric
        return [list(edges) for edges in encoding.bins]

    nothing: list[list[float]] = [[]] * 6
    assert bins(0.6, 2.6, 4.6) == [pytest.approx([-1, 0, 1]), *nothing]
    assert bins(0.6, 0.6, 0.6, 4.6, 4.6) == [pytest.approx([-1, 1]), *nothing], "values that many rows have"
    assert bins(2.6, 2.6 + 1e-9, 4.6) == [pytest.approx([0, 1]), *nothing], "a float32 cannot tell them apart"
    assert bins(2.6, 2.6, 2.6) == bins() == [[], *nothing]


def test_texts_that_end_in_nul_are_words_of_their_own(spec: FeatureSpec, statistics: Statistics) -> None:
    words = ("red", "red\0", "red\0\0")
    statistics = statistics.model_copy(update={"vocabularies": {**statistics.vocabularies, "colour": words}})
    assert [encoded(spec, statistics, colour=word)[1][0] for word in (*words, "re")] == [2, 3, 4, 1]
