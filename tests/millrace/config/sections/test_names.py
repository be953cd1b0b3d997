"""How names are spelt, and that every spelling is explained."""

import re

import pytest

from millrace.config.sections import names
from millrace.config.sections.names import (
    COLUMN_PATTERN,
    DOTTED_PATTERN,
    MASTER_PATTERN,
    MEMORY_PATTERN,
    NAME_PATTERN,
    SPELLING,
)


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (NAME_PATTERN, ["a", "flights-2", "0_x"], ["", "A", "-a", "a b", "a/b", "ü", "x" * 64]),
        (COLUMN_PATTERN, ["a", "Dep_delay", "_1"], ["", "1a", "a b", "a.b", "#on0", "a" * 128]),
        (DOTTED_PATTERN, ["a:b", "a.b_c.d:e"], ["a", "a.b", ":b", "a:", "a..b:c", "a.:b", "a:b.c", "1a:b", "a/b:c"]),
        (MEMORY_PATTERN, ["2g", "512m"], ["2", "g", "0g", "2gb", "2 g", "1.5g"]),
        (
            MASTER_PATTERN,
            ["local", "local[*]", "local[2]", "local[2, 3]", "yarn", "spark://a:7077", "k8s://https://a:1"],
            ["", "locl[*]", "local[]", "localhost", "spark:/a", "mesos://a"],
        ),
    ],
)
def test_spellings(pattern: str, good: list[str], bad: list[str]) -> None:
    assert [text for text in good if not re.search(pattern, text)] == []
    assert [text for text in bad if re.search(pattern, text)] == []


def test_every_pattern_is_explained() -> None:
    patterns = {value for name, value in vars(names).items() if name.endswith("_PATTERN")}
    assert patterns == set(SPELLING)
    assert all(words.startswith("expected ") for words in SPELLING.values())
