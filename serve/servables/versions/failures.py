"""The versions of a model that cannot be loaded, and why."""

import math
import time
from collections.abc import Collection
from typing import Final

from millrace.errors import MillraceError

RETRY_AFTER_S: Final = 60.0
"""Seconds before a version that failed to load is tried again."""


class Failures:
    """Errors by version.

    One thread at a time changes them; others may read at any time, so that every loop is over a copy.
    """

    def __init__(self) -> None:
        self._errors: dict[int, tuple[float, MillraceError]] = {}
        """The time of each, by `time.monotonic`; minus infinity if it may be tried again at once."""

    @property
    def versions(self) -> list[int]:
        """The versions, ascending."""
        return sorted(list(self._errors))  # `sorted` alone could see a change

    def add(self, version: int, error: MillraceError, *, is_final: bool = True) -> bool:
        """Remember why a version cannot be loaded; returns whether that is another reason than before.

        Args:
            version: The version.
            error: Why.
            is_final: Whether the version is to blame. Otherwise, such as for a full disk, it may be tried at once.
        """
        before = self.find(version)
        self._errors[version] = (time.monotonic() if is_final else -math.inf, error)
        return before is None or str(before) != str(error)

    def remove(self, version: int) -> None:
        """Forget a version, if it is there."""
        self._errors.pop(version, None)

    def note_success(self, version: int) -> None:
        """Forget a version that is loaded now, and those that failed without their fault: the cause is gone."""
        for other, (when, _) in list(self._errors.items()):
            if other == version or when == -math.inf:
                self.remove(other)

    def clear(self) -> None:
        """Forget all."""
        self._errors.clear()

    def keep(self, versions: Collection[int]) -> None:
        """Forget those that are not among these."""
        for version in set(self._errors) - set(versions):
            self.remove(version)

    def find(self, version: int) -> MillraceError | None:
        """Why a version cannot be loaded; None if it did not fail."""
        failed = self._errors.get(version)
        return failed[1] if failed else None

    def newest(self, above: int = 0) -> tuple[int, MillraceError] | None:
        """The highest version above this one, and why it cannot be loaded."""
        versions = [version for version in self.versions if version > above]
        error = self.find(versions[-1]) if versions else None
        return (versions[-1], error) if error else None

    def is_recent(self, version: int) -> bool:
        """Whether a version failed less than `RETRY_AFTER_S` ago, by its own fault."""
        failed = self._errors.get(version)
        return failed is not None and time.monotonic() - failed[0] < RETRY_AFTER_S
