"""Which values lie outside of what a model's contract allows, and of what its training has seen."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from millrace.config.sections.serve import DomainMode
from millrace.features.encoding import INT64_MIN
from millrace.features.spec import Category, Cyclic, Domain, Feature, Numeric, Range
from millrace.models.vocabularies import FILE
from serve.servables import domains
from serve.servables.domains import DomainGuard, Domains, read_domains
from tests.serve.models import spec_of

AMOUNT = Feature(name="amount", dtype="float32", nullable=True, transform=Numeric())
COUNT = Feature(name="count", dtype="int64", nullable=True, transform=Numeric())
CITY = Feature(name="city", dtype="string", nullable=True, transform=Category())
MAYBE = Feature(name="maybe", dtype="bool", nullable=True, transform=Category())
SEEN = Feature(name="seen", dtype="timestamp", nullable=True, transform=Cyclic(period="day"))


def array(feature: Feature, values: list[Any]) -> Any:
    return np.array(values, object if feature.tensor_dtype == "string" else feature.tensor_dtype)


def rows_of(feature: Feature, values: list[Any], **vocabularies: Any) -> dict[str, list[int]]:
    """Rows outside, by what they are outside of."""
    found = Domains([feature], vocabularies).outside({feature.name: array(feature, values)})
    return {outside.kind: np.flatnonzero(outside.rows).tolist() for outside in found}


def within(feature: Feature, observed: Range | None = None, **domain: Any) -> Feature:
    return feature.model_copy(update={"domain": Domain(**domain), "observed": observed})


@pytest.mark.parametrize(
    ("feature", "values", "outside"),
    [
        (within(AMOUNT, min=0, max=5), [0, 5, 2.5, np.nan], {}),
        (within(AMOUNT, min=0, max=5), [-0.1, 5, 5.1, np.inf, -np.inf], {"contract": [0, 2, 3, 4]}),
        (within(AMOUNT, min=0, excludes_min=True), [0, 1], {"contract": [0]}),
        (within(AMOUNT, max=5, excludes_max=True), [5, 4], {"contract": [0]}),
        (
            within(AMOUNT, Range(min=1, max=4), min=0, max=5),
            [0.5, 6, 2, 4.5, np.nan],
            {"contract": [1], "training": [0, 3]},
        ),
        (AMOUNT.model_copy(update={"observed": Range(min=1, max=4)}), [0.5, 1, 4], {"training": [0]}),
        (within(AMOUNT, values=(0.1, 2)), [0.1, 2, 3, np.nan], {"contract": [2]}),
        (within(COUNT, min=0, max=9), [INT64_MIN, 0, 9, -1, 10], {"contract": [3, 4]}),
        (within(COUNT, values=(1, 2)), [INT64_MIN, 1, 3], {"contract": [2]}),
        (within(CITY, values=("Oslo", "Rome")), [b"", b"Oslo", b"Paris", b"\xff"], {"contract": [2, 3]}),
        (within(MAYBE, values=(1,)), [INT64_MIN, 1, 0], {"contract": [2]}),
        (within(SEEN, min=0), [INT64_MIN, 0, -1], {"contract": [2]}),
        (AMOUNT, [1e30, -1e30], {}),
    ],
)
def test_which_rows(feature: Feature, values: list[Any], outside: dict[str, list[int]]) -> None:
    assert rows_of(feature, values) == outside


def test_categories_that_were_not_learnt() -> None:
    words = frozenset(["Oslo", "Rome"])
    assert rows_of(CITY, [b"Oslo", b"Paris", b""], city=words) == {"training": [1]}
    both = within(CITY, values=("Rome", "Paris"))
    assert rows_of(both, [b"Oslo", b"Paris", b"Rome"], city=words) == {"contract": [0], "training": [1]}
    assert rows_of(AMOUNT, [1.0], other=words) == {}


def test_what_a_breach_says() -> None:
    def said(feature: Feature, value: Any) -> str:
        values = array(feature, [value])
        return Domains([feature]).outside({feature.name: values})[0].rule(values[0])

    allows = "the contract of the model's data allows"
    assert said(within(AMOUNT, min=0, max=5), 7.5) == f"is 7.5, {allows} at least 0 and at most 5"
    assert said(within(CITY, values=("Oslo", "Rome")), b"X" * 999).startswith("is 'XXXXXXX")
    assert len(said(within(CITY, values=("Oslo", "Rome")), b"X" * 999)) < 200
    assert said(within(CITY, values=tuple("abcdefghijklmn")), b"X").endswith("'i', 'j', ...")
    assert said(within(SEEN, min=0, excludes_min=True), -1_000_000) == (
        f"is 1969-12-31T23:59:59+00:00, {allows} more than 1970-01-01T00:00:00+00:00"
    )
    assert "-9223372036854775807" in said(within(SEEN, min=0), -(2**63) + 1)


def test_read_with_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domains, "MAX_WORDS", 2)
    (tmp_path / FILE).parent.mkdir()
    (tmp_path / FILE).write_text(json.dumps({"city": ["Oslo", "Rome"], "count": [1, 2, 3]}))
    spec = spec_of("binary", (CITY, COUNT))
    found = read_domains(tmp_path, spec)
    assert found is not None
    outside = found.outside({"city": array(CITY, [b"Paris"]), "count": array(COUNT, [4])})
    assert [o.feature.name for o in outside] == ["city"], "a large vocabulary is not kept"
    assert read_domains(tmp_path, None) is None
    (tmp_path / FILE).unlink()
    assert read_domains(tmp_path, spec) is not None


def test_the_mode_of_that_time_counts() -> None:
    modes: list[DomainMode] = list(get_args(DomainMode))
    counts: Counter[Any] = Counter()
    guard = DomainGuard(Domains([within(AMOUNT, Range(min=1, max=4), min=0, max=5)]), lambda: modes[0], counts)
    inputs = {"amount": array(AMOUNT, [6, 4.5, 4.6])}
    found, is_refused = guard.check(inputs)
    assert (len(found), is_refused) == (2, True)
    guard.count(found, np.array([False, True, False]))
    assert counts == {("amount", "contract"): 1, ("amount", "training"): 1}
    modes.pop(0)
    assert guard.check(inputs)[1] is False
    guard.count(found)
    assert counts == {("amount", "contract"): 2, ("amount", "training"): 3}
    modes.pop(0)
    assert guard.check(inputs) == ([], False)
