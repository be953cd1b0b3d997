"""Converts timestamps to and from the numbers that models use: microseconds since 1970 in UTC."""

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds_of(text: str) -> int:
    """Convert a timestamp to microseconds since 1970 in UTC; a text without a time zone is in UTC.

    Raises:
        ValueError: The text is not ISO 8601.
        OverflowError: In UTC the time is before year 1 or after year 9999.
    """
    moment = datetime.fromisoformat(text)
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)


def moment_of(microseconds: int) -> datetime:
    """Convert microseconds since 1970 to a timestamp; the inverse of `microseconds_of`.

    Raises:
        OverflowError: The date is out of range.
    """
    return _EPOCH + timedelta(microseconds=microseconds)
