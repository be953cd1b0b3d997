"""Options of the model's builder: checked where its module says what they may be."""

import sys
from pathlib import Path

import pytest

from millrace.config import load_product
from millrace.errors import ConfigError
from tests.millrace.products import write_product

MODEL = "  model: train.models.tabular:build\n"


def with_options(folder: Path, options: str, model: str = "train.models.tabular:build") -> Path:
    return write_product(folder, (MODEL, f"  model: {model}\n  options: {options}\n"))


def test_what_the_builder_takes(tmp_path: Path) -> None:
    load_product(with_options(tmp_path, "{hidden: [8, 4], dropout: 0.1}"))


@pytest.mark.parametrize(
    ("options", "key", "message"),
    [
        ("{hiden: [8]}", "train.options.hiden", "unknown key 'hiden'; did you mean 'hidden'?"),
        ("{hidden: big}", "train.options.hidden", "found 'big'; expected a list"),
        ("{hidden: [8, x]}", "train.options.hidden.1", "found 'x'; expected a whole number"),
        ("{dropout: 2}", "train.options.dropout", "found 2; expected less than 1"),
    ],
)
def test_what_it_does_not_take(options: str, key: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_product(with_options(tmp_path, options))
    [problem] = caught.value.problems
    assert (problem.key, problem.where) == (key, f"{tmp_path / 'trips.yaml'}:48")
    assert message in str(problem)


def test_a_builder_that_says_nothing_takes_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mr_plain.py").write_text("def build(encoding, units, options): ...\n")
    (tmp_path / "mr_heavy.py").write_text(
        "import keras\nclass Options: ...\ndef build(encoding, units, options): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("mr_plain", "mr_heavy"):
        load_product(with_options(tmp_path, "{what: ever}", f"{module}:build"))
        assert module not in sys.modules
