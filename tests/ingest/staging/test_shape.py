"""What a file must hold: named columns of declared types, no more and no fewer."""

import pytest

from ingest.errors import ColumnsMismatch
from tests.ingest.small import shape_of

TYPES = {"a": "int", "b": "string"}


@pytest.mark.parametrize(
    ("found", "problems"),
    [
        ({"b": "string", "a": "int"}, []),
        ({"a": ""}, ["column 'b' is missing, expected string"]),
        ({"a": "bigint", "b": "string"}, ["column 'a': expected int, found bigint"]),
        ({"A": "int", "b": "string"}, ["column 'a' is missing, expected int", "column 'A' is not declared, found int"]),
    ],
)
def test_columns(found: dict[str, str], problems: list[str]) -> None:
    if not problems:
        shape_of(TYPES).check("f", found)
        return
    with pytest.raises(ColumnsMismatch) as caught:
        shape_of(TYPES).check("f", found)
    assert list(caught.value.problems) == problems
    assert str(caught.value).startswith(f"f: {problems[0]}")


def test_a_policy_for_each_difference() -> None:
    shape = shape_of(TYPES, optional=frozenset("b"), extra="drop")
    shape.check("f", {"a": "int", "c": "date"})
    assert shape.extras(["a", "c"]) == ["c"]
    with pytest.raises(ColumnsMismatch, match="expected string, found date"):
        shape.check("f", {"a": "int", "b": "date"})


@pytest.mark.parametrize(
    ("header", "strict", "lenient"),
    [
        ("ab", True, True),
        ("ba", False, False),
        ("acb", False, True),
        ("a", False, True),
        ("b", False, False),
        ("abb", False, False),
        ("ca", False, True),
    ],
)
def test_headers(header: str, strict: bool, lenient: bool) -> None:
    found = list(header)
    assert (shape_of(TYPES).layout(found) == tuple(found)) is strict
    assert (shape_of(TYPES, optional=frozenset("b"), extra="drop").layout(found) == tuple(found)) is lenient
