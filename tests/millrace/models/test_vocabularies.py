"""Vocabularies: kept beside the model, and what is out of them counted; a missing value is not unseen."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from millrace.features.encoding import INT64_MIN, Encoded, encode
from millrace.features.spec import Category, Feature
from millrace.models.vocabularies import Vocabulary, count_unseen, read_vocabularies, write_vocabularies


@pytest.fixture
def words(tmp_path: Path) -> dict[str, Vocabulary]:
    write_vocabularies(tmp_path, {"city": ("Oslo", "Århus"), "code": (1, -5), "flag": (0, 1)})
    found = read_vocabularies(tmp_path)
    assert found is not None
    return found


def column(name: str, values: pa.Array) -> Encoded:
    dtype = "string" if pa.types.is_string(values.type) else "bool" if pa.types.is_boolean(values.type) else "int64"
    return encode(values, Feature(name=name, dtype=dtype, nullable=values.null_count > 0, transform=Category()))


@pytest.mark.parametrize(
    ("name", "values", "unseen"),
    [
        ("city", pa.array(["Oslo", "Århus", None, "", "oslo", "Rome", "Rome"]), 3),
        ("city", pa.array([], pa.string()), 0),
        ("city", pa.array([None], pa.string()), 0),
        ("code", pa.array([1, 1, -5, 2, None, 7]), 2),
        ("flag", pa.array([True, False]), 0),
        ("flag", pa.array([True, None]), 0),
    ],
)
def test_what_is_unseen(words: dict[str, Vocabulary], name: str, values: pa.Array, unseen: int) -> None:
    assert count_unseen(column(name, values), words[name]) == unseen


def test_the_missing_value_is_in_no_vocabulary(words: dict[str, Vocabulary]) -> None:
    assert count_unseen(np.array([INT64_MIN, INT64_MIN + 1]), words["code"]) == 1


def test_a_model_from_before(tmp_path: Path) -> None:
    assert read_vocabularies(tmp_path) is None
