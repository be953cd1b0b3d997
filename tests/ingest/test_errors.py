"""Errors: each fits on a screen, however large the data."""

from ingest.errors import HeaderMismatch, KeyBroken, RejectedRows, TooManyFiltered, TooManyRejected

LONG = "x" * 10_000


def test_examples_are_bounded() -> None:
    reasons = [RejectedRows(LONG, 1, "f", None)] * 500
    many = TooManyRejected("s", rejected=5, rows=6, allowed=0.1, reasons=reasons, show="millrace tables show p/rejects")
    broken = KeyBroken(["a"], reason="rows share their key", count=500, examples=[LONG] * 500)
    assert all(len(str(error)) < 5_000 for error in (many, broken))
    assert len(broken.examples) == 20


def test_a_header_of_thousands_of_columns() -> None:
    names = [f"{LONG}{n}" for n in range(5_000)]
    assert len(str(HeaderMismatch("f", expected=names, found=names[::-1]))) < 3_000


def test_the_steps_that_drop_most_come_first() -> None:
    error = TooManyFiltered({"a": 1, "none": 0, "join:b": 7}, rows=10, allowed=0.5)
    assert str(error) == "ingest.steps drop 8 of 10 rows, allowed is a share of 0.5 (join:b: 7, a: 1)"
    assert len(str(TooManyFiltered({LONG: 1}, rows=1, allowed=0))) < 600
