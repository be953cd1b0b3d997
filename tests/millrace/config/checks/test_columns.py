"""Names and types that fit are accepted; mistakes are in test_problems."""

from pathlib import Path

import pytest

from millrace.config import load_product
from millrace.errors import ConfigError
from tests.millrace.products import write_product

DISTANCE = "    distance: {as: numeric}"


@pytest.mark.parametrize(
    "line",
    [
        "    hour: {as: numeric}",
        "    hour: {as: category}",
        "    hour: {as: cyclic, period: 24}",
        "    distance: {as: numeric, log: true}",
        "    distance: {as: cyclic, period: 3.5}",
        "    per_km: {as: category}",
        "    per_km: {as: cyclic, period: day}",
    ],
)
def test_inputs_that_fit(line: str, tmp_path: Path) -> None:
    load_product(write_product(tmp_path, (DISTANCE, line)))


@pytest.mark.parametrize(
    ("type_name", "task", "fits"),
    [
        ("int", "binary", True),
        ("string", "multiclass", True),
        ("boolean", "binary", True),
        ("double", "binary", False),
        ("timestamp", "multiclass", False),
        ("double", "regression", True),
        ("bigint", "regression", True),
        ("string", "regression", False),
        ("date", "regression", False),
    ],
)
def test_labels_by_task(type_name: str, task: str, fits: bool, tmp_path: Path) -> None:
    changes = [("paid: double", f"paid: {type_name}"), ("label: late", "label: paid"), ("banned: [paid]", "banned: []")]
    changes += [("task: binary", f"task: {task}"), ("    auc: {min: 0.5}", "    {}")]
    path = write_product(tmp_path, *changes)
    if fits:
        load_product(path)
    else:
        with pytest.raises(ConfigError, match=rf"features\.label: a {type_name} cannot be the label of a"):
            load_product(path)


def test_a_ban_may_name_a_family_or_a_column_that_is_dropped(tmp_path: Path) -> None:
    load_product(
        write_product(
            tmp_path,
            ("banned: [paid]", "banned: ['pai*', id, people_later]"),
            ("drop: [id]", "drop: [id]\n    - derive: {people_later: people + 1}"),
        )
    )


def test_nothing_is_followed_from_an_unknown_base(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_product(write_product(tmp_path, ("base: trips", "base: trip")))
    assert len(caught.value.problems) == 1
