"""Cron expressions in a time zone: which moments they name."""

from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

_EXPECTED = "expected minute hour day month weekday, such as '30 2 * * *'"
_SOON = datetime(2024, 1, 1, tzinfo=UTC)


def check_cron(expression: str) -> str:
    """Return the expression if every cron understands it, and it comes at all.

    Raises:
        ValueError: It has not five fields, a field is wrong, or it names what only some crons know.
    """
    if len(expression.split()) != 5:  # noqa: PLR2004 - the five fields of a crontab
        raise ValueError(_EXPECTED)
    try:
        moments = CronSim(expression, _SOON)
        first = next(moments, None)
    except CronSimError as error:
        raise ValueError(f"{str(error)[0].lower()}{str(error)[1:]}, {_EXPECTED}") from None
    if not all(isinstance(day, int) and day >= 0 for day in (*moments.days, *moments.weekdays)):
        raise ValueError(f"not every cron knows L, LW and #, {_EXPECTED}")
    if first is None:
        raise ValueError(f"there is no such day, {_EXPECTED}")
    return expression


def moments_after(expression: str, zone: str, after: datetime) -> Iterator[datetime]:
    """Every moment of an expression later than a moment, ascending, in UTC.

    A time of day fires once on every local day: where clocks go forward over it, at the first moment after the gap;
    where they go back and it comes twice, at the first. An expression whose minute or hour begins with ``*`` goes by
    the time that passes, so that an hourly one fires in both of two equal hours.
    """
    for moment in CronSim(expression, after.astimezone(ZoneInfo(zone))):
        instant = moment.astimezone(UTC)
        if instant > after:  # in the hour that comes twice, the library may begin with the first
            yield instant


def local_day(moment: datetime, zone: str) -> str:
    """The day of a moment where its schedule lives, which the day in UTC need not be."""
    return moment.astimezone(ZoneInfo(zone)).date().isoformat()


def moments_until(expression: str, zone: str, after: datetime, until: datetime) -> list[datetime]:
    """The moments after one and up to another, both in UTC."""
    found = []
    for moment in moments_after(expression, zone, after):
        if moment > until:
            break
        found.append(moment)
    return found


def next_moment(expression: str, zone: str, after: datetime) -> datetime:
    """The first moment after one."""
    return next(moments_after(expression, zone, after))
