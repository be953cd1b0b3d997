"""Examples of a classify or regress request, told apart."""

from typing import Any

import pytest

from serve.errors import InvalidRequest
from serve.protocols.example_rows import ExampleRows
from serve.protocols.examples import ExamplesRequest
from serve.servables.signatures import CLASSIFY, SERVING_DEFAULT, Signature
from tests.serve.models import ROW
from tests.serve.signatures import ours, signature

OURS = ours()[SERVING_DEFAULT]
(THEIRS,) = signature(method=CLASSIFY, inputs="string").values()


def rows_of(*rows: Any, asked: Signature = OURS, context: Any = None) -> ExampleRows:
    return ExampleRows(ExamplesRequest(asked, list(rows), context or {}), "classify")


@pytest.mark.parametrize(
    ("row", "field", "rule"),
    [
        ({**ROW, "amount": "x"}, "amount", 'JSON Value: "x" Type: String is not of expected type: float'),
        ({**ROW, "amount": [1, 2]}, "amount", "2 values, and the model takes one"),
        ({**ROW, "amount": []}, "amount", "JSON Value: null"),
        ({**ROW, "city": {"no": 1}}, "city", "unexpected JSON type: Object"),
        ({n: v for n, v in ROW.items() if n != "city"}, "city", "JSON Value: null"),
        ([1], "", "expected an object, found [1]"),
    ],
)
def test_each_row_says_what_it_breaks(row: Any, field: str, rule: str) -> None:
    rows = rows_of(ROW, row)
    assert rows.count == 2
    assert rows.check(0) is None
    found = rows.check(1)
    assert found is not None
    assert found[0] == field
    assert rule in found[1]
    assert rows.only([0]).inputs()["amount"].tolist() == [ROW["amount"]]


def test_what_the_context_says_is_there() -> None:
    rest = {name: value for name, value in ROW.items() if name != "city"}
    assert rows_of(rest, context={"city": ("bytes", [b"Oslo"])}).check(0) is None
    assert rows_of(rest).check(0)


@pytest.mark.tf
def test_examples_for_a_signature_that_takes_them() -> None:
    rows = rows_of({"any": 1}, {"any": [1, "x"]}, asked=THEIRS)
    assert rows.check(0) is None
    assert (rows.check(1) or ("",))[0] == "any"
    assert len(rows.only([0]).inputs()["inputs"]) == 1


def test_a_signature_of_another_kind() -> None:
    with pytest.raises(InvalidRequest, match="Expected regress signature"):
        ExampleRows(ExamplesRequest(THEIRS, [{}], {}), "regress")
