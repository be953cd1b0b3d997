"""Errors: each fits on a screen, however large the data."""

from ingest.errors import ContractFailed, Failure, HeaderMismatch, KeyBroken, TooManyRejected

LONG = "x" * 10_000


def test_a_contract_fits_on_a_screen() -> None:
    failures = [Failure(f"rule_{n}", "column", 10**9, LONG, (LONG,) * 20) for n in range(50)]
    error = ContractFailed("flights", failures)
    lines = str(error).splitlines()
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 200
    assert lines[0] == "flights: the contract failed in 50 rules"
    assert lines[-1] == "  and 38 more"
    assert error.failures == tuple(failures)


def test_a_failure_in_words() -> None:
    assert str(Failure("min_rows", reason="expected 10 rows, found 3")) == "min_rows: expected 10 rows, found 3"
    assert str(Failure("rule", "x", 2, "max_value 1", ("7", "8"))) == "rule (x): 2 rows: max_value 1\n    such as 7, 8"


def test_examples_are_bounded() -> None:
    many = TooManyRejected("s", rejected=5, rows=6, allowed=0.1, examples=[LONG] * 500)
    broken = KeyBroken(["a"], reason="rows share their key", count=500, examples=[LONG] * 500)
    assert all(len(str(error)) < 5_000 for error in (many, broken))
    assert len(broken.examples) == 20


def test_a_header_of_thousands_of_columns() -> None:
    names = [f"{LONG}{n}" for n in range(5_000)]
    assert len(str(HeaderMismatch("f", expected=names, found=names[::-1]))) < 3_000
