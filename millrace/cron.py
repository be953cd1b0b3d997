"""Cron expressions in a time zone: the times at which they fire."""

from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

_EXPECTED = "expected minute hour day month weekday, such as '30 2 * * *'"
_SOON = datetime(2024, 1, 1, tzinfo=UTC)


def check_cron(expression: str) -> str:
    """Return the expression if it is valid and fires at least once.

    Raises:
        ValueError: It does not have five fields, a field is wrong, or it uses an extension of some crons.
    """
    if len(expression.split()) != 5:  # noqa: PLR2004 - the five fields of a crontab
        raise ValueError(_EXPECTED)
    try:
        moments = CronSim(expression, _SOON)
        first = next(moments, None)
    except CronSimError as error:
        raise ValueError(f"{str(error)[0].lower()}{str(error)[1:]}, {_EXPECTED}") from None
    if not all(isinstance(day, int) and day >= 0 for day in (*moments.days, *moments.weekdays)):
        raise ValueError(f"L, LW and # are not supported, {_EXPECTED}")
    if first is None:
        raise ValueError(f"there is no such day, {_EXPECTED}")
    return expression


def moments_after(expression: str, zone: str, after: datetime) -> Iterator[datetime]:
    """Yield every time of an expression after a given time, ascending, in UTC.

    A time of day fires once on every local day. If the clock skips that time, it fires right after the change; if the
    time occurs twice, it fires only at the first. An expression whose minute or hour starts with ``*`` fires at fixed
    intervals and ignores clock changes, so an hourly one fires in both of two equal hours.
    """
    for moment in CronSim(expression, after.astimezone(ZoneInfo(zone))):
        instant = moment.astimezone(UTC)
        if instant > after:  # in an hour that occurs twice, the library may start with the first one
            yield instant


def local_day(moment: datetime, zone: str) -> str:
    """Return the date of a time in the time zone of its schedule, which may differ from the date in UTC."""
    return moment.astimezone(ZoneInfo(zone)).date().isoformat()


def moments_until(expression: str, zone: str, after: datetime, until: datetime) -> list[datetime]:
    """Return the times after one time and up to another, all in UTC."""
    found = []
    for moment in moments_after(expression, zone, after):
        if moment > until:
            break
        found.append(moment)
    return found


def next_moment(expression: str, zone: str, after: datetime) -> datetime:
    """Return the first time after a given time."""
    return next(moments_after(expression, zone, after))
