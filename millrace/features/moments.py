"""Timestamps as models take them: microseconds since 1970 in UTC."""

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds_of(text: str) -> int:
    """A timestamp as models take it: microseconds since 1970 in UTC, which is meant where the text names no zone.

    Raises:
        ValueError: It is not of ISO 8601.
        OverflowError: In UTC it is before year 1 or after year 9999.
    """
    moment = datetime.fromisoformat(text)
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)


def moment_of(microseconds: int) -> datetime:
    """What `microseconds_of` made a number of.

    Raises:
        OverflowError: There is no such date.
    """
    return _EPOCH + timedelta(microseconds=microseconds)
