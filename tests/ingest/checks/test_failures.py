"""Failures: a screen for people, all of them for the record."""

from ingest.checks.failures import ContractFailed, Failure

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


def test_the_record_has_what_the_screen_cuts() -> None:
    error = ContractFailed("flights", [Failure("rule", "x", 30, "max_value 1", tuple(f"id={n}" for n in range(20)))])
    assert error.details["failures"] == [
        {"rule": "rule", "column": "x", "count": 30, "reason": "max_value 1", "examples": error.failures[0].examples}
    ]
