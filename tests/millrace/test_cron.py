"""Which moments a cron expression names, where clocks change too."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from millrace.cron import check_cron, local_day, moments_after, moments_until, next_moment

NEW_YORK = "America/New_York"


def local(expression: str, zone: str, after: str, count: int) -> list[str]:
    start = datetime.fromisoformat(after).replace(tzinfo=ZoneInfo(zone))
    moments = islice(moments_after(expression, zone, start), count)
    return [moment.astimezone(ZoneInfo(zone)).isoformat() for moment in moments]


@pytest.mark.parametrize(
    ("expression", "zone", "after", "expected"),
    [
        # Clocks go forward from 2:00 to 3:00: half past two does not come, and it fires when the gap is over.
        ("30 2 * * *", NEW_YORK, "2026-03-07", ["07T02:30:00-05:00", "08T03:00:00-04:00", "09T02:30:00-04:00"]),
        ("30 2 * * *", "Europe/Berlin", "2026-03-28", ["28T02:30:00+01:00", "29T03:00:00+02:00", "30T02:30:00+02:00"]),
        # Clocks go back from 2:00 to 1:00, and from 3:00 to 2:00: it comes twice, and fires the first time.
        ("30 1 * * *", NEW_YORK, "2026-11-01", ["01T01:30:00-04:00", "02T01:30:00-05:00", "03T01:30:00-05:00"]),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25", ["25T02:30:00+02:00", "26T02:30:00+01:00", "27T02:30:00+01:00"]),
        # What goes by the hour goes by the time that passes.
        ("0 * * * *", NEW_YORK, "2026-11-01T00:30", ["01T01:00:00-04:00", "01T01:00:00-05:00", "01T02:00:00-05:00"]),
        ("0 * * * *", NEW_YORK, "2026-03-08T00:30", ["08T01:00:00-05:00", "08T03:00:00-04:00", "08T04:00:00-04:00"]),
        ("0 6 * * 1-5", "UTC", "2026-11-27T07:00", ["30T06:00:00+00:00"]),
        ("0 6 * * 0", "UTC", "2026-11-27T07:00", ["29T06:00:00+00:00"]),  # 0 is Sunday
    ],
)  # fmt: skip
def test_moments(expression: str, zone: str, after: str, expected: list[str]) -> None:
    found = local(expression, zone, after, len(expected))
    assert [moment.partition("-")[2].partition("-")[2] for moment in found] == expected


@pytest.mark.parametrize("zone", [NEW_YORK, "Europe/Berlin", "Australia/Lord_Howe", "Africa/Casablanca", "UTC"])
@pytest.mark.parametrize("time", ["30 1", "15 2", "30 2", "0 3"])
def test_a_time_of_day_comes_once_on_every_local_day(zone: str, time: str) -> None:
    start = datetime(2025, 12, 31, 23, tzinfo=ZoneInfo(zone))
    moments = list(islice(moments_after(f"{time} * * *", zone, start), 365))
    first = datetime(2026, 1, 1)
    assert [local_day(m, zone) for m in moments] == [f"{first + timedelta(days=n):%Y-%m-%d}" for n in range(365)]


@pytest.mark.parametrize("expression", ["30 2 * * *", "30 1 * * *", "*/20 * * * *", "0 1,2,3 * * *"])
def test_from_wherever_it_is_asked_the_moments_are_the_same(expression: str) -> None:
    """What the log holds last is where the next enumeration begins, so no moment may depend on where it began."""
    for day in (datetime(2026, 3, 7, tzinfo=UTC), datetime(2026, 10, 31, tzinfo=UTC)):
        end = day + timedelta(days=3)
        whole = moments_until(expression, NEW_YORK, day, end)
        assert whole == sorted(set(whole))
        for minutes in (0, *range(24 * 60, 33 * 60, 7), 60 * 60):  # close where the clocks change
            after = day + timedelta(minutes=minutes)
            assert moments_until(expression, NEW_YORK, after, end) == [moment for moment in whole if moment > after]


def test_the_next_one() -> None:
    moment = datetime(2026, 3, 1, 2, 30, tzinfo=UTC)
    assert next_moment("30 2 * * *", "UTC", moment) == moment + timedelta(days=1)
    assert next_moment("30 2 * * *", "UTC", moment - timedelta(microseconds=1)) == moment


def test_the_day_is_that_of_the_clock_on_the_wall() -> None:
    """At half past seven in the evening in New York the day in UTC changes with the season: it would come twice."""
    moments = list(islice(moments_after("30 19 * * *", NEW_YORK, datetime(2026, 3, 7, tzinfo=UTC)), 3))
    assert [f"{m:%m-%d}" for m in moments] == ["03-07", "03-08", "03-08"]
    assert [local_day(m, NEW_YORK)[5:] for m in moments] == ["03-06", "03-07", "03-08"]


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("0 5 * *", "expected minute hour day month weekday"),
        ("0 0 5 * * *", "expected minute hour day month weekday"),
        ("@daily", "expected minute hour day month weekday"),
        ("0 25 * * *", "bad hour, expected"),
        ("0 5 * * 8", "bad day-of-week, expected"),
        ("0 5 30 2 *", "bad day-of-month, expected"),
        ("0 5 L * *", "L, LW and # are not supported"),
        ("0 5 * * 1#2", "L, LW and # are not supported"),
    ],
)
def test_a_wrong_expression(expression: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_cron(expression)


@pytest.mark.parametrize("expression", ["30 2 * * *", "*/5 8-18 * * mon-fri", "0 0 1 jan,jul *", "0 0 29 2 *"])
def test_a_right_expression(expression: str) -> None:
    assert check_cron(expression) == expression
