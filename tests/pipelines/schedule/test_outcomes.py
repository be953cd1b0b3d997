"""What an exit code means for a tick."""

from datetime import timedelta

import pytest

from millrace.config.sections.schedule import Retries
from pipelines.jobs.exits import EXIT_CODES
from pipelines.schedule.log import Ended, Outcome
from pipelines.schedule.outcomes import Verdict, backoff, judge
from tests.pipelines.schedule.small import START, minutely

ENTRY = minutely(retries={"max_attempts": 3, "wait_s": 10, "max_wait_s": 60}, input_wait_s=3600)


def before(*outcomes: Outcome) -> list[Ended]:
    return [Ended(at=START, tick=START, stage="score", outcome=outcome) for outcome in outcomes]


@pytest.mark.parametrize(
    ("code", "earlier", "expected"),
    [
        (0, [], Verdict("done", settles=False)),
        (2, [], Verdict("failed", settles=True)),
        (3, [], Verdict("rejected", settles=True)),
        (4, [], Verdict("waiting", settles=False, wait_s=10)),
        (4, before("waiting", "waiting"), Verdict("waiting", settles=False, wait_s=40)),
        (5, [], Verdict("refused", settles=True)),
        (70, [], Verdict("retry", settles=False, wait_s=10)),
        (70, before("retry"), Verdict("failed", settles=True)),
        (75, [], Verdict("retry", settles=False, wait_s=10)),
        (75, before("retry", "interrupted", "waiting", "interrupted"), Verdict("retry", settles=False, wait_s=20)),
        (75, before("retry", "retry"), Verdict("failed", settles=True)),
        (78, [], Verdict("failed", settles=True)),
        (1, [], Verdict("retry", settles=False, wait_s=10)),  # spark-submit itself
        (137, [], Verdict("retry", settles=False, wait_s=10)),  # killed, for want of memory perhaps
        (-9, before("retry", "retry"), Verdict("failed", settles=True)),
    ],
)
def test_verdict(code: int, earlier: list[Ended], expected: Verdict) -> None:
    assert judge(code, earlier, ENTRY, START, lambda: 0.0) == expected


def test_every_exit_code_of_ours_is_decided() -> None:
    outcomes = {code: judge(code, [], ENTRY, START).outcome for code in EXIT_CODES.values()}
    assert outcomes == {3: "rejected", 4: "waiting", 5: "refused", 70: "retry", 75: "retry", 78: "failed"}


def test_a_wait_for_an_input_ends() -> None:
    late = START + timedelta(seconds=3600)
    assert judge(4, before("waiting"), ENTRY, late) == Verdict("input_missing", settles=True)
    assert judge(4, before("waiting"), ENTRY, late - timedelta(seconds=1)).outcome == "waiting"
    assert judge(4, [], ENTRY, late).outcome == "waiting"  # whoever comes late has not waited yet


def test_waits_grow_whatever_chance_says_up_to_a_bound() -> None:
    retries = Retries(max_attempts=9, wait_s=10, max_wait_s=200)
    longest, shortest = ([backoff(n, retries, chance) for n in range(5)] for chance in (1.0, 0.0))
    assert shortest == [10, 20, 40, 80, 160]
    assert all(before < after for before, after in zip(longest, shortest[1:], strict=False))
    assert backoff(4000, retries, 1.0) == 250
