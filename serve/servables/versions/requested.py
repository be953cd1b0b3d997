"""The loaded versions of a model beside the current one: those that the settings name, and those that clients request.

A client may request any version by number. Only a few of these stay loaded, and one that is in use is not unloaded for
another: otherwise a client that requests old versions in turn would make the server load one after the other.
"""

import math
import time
from collections.abc import Callable, Iterable
from typing import Final

from serve.errors import Overloaded
from serve.servables.servable import Servable

KEPT_S: Final = 60.0
"""Seconds after its last request in which a requested version is not unloaded for another one."""


class RequestedVersions:
    """Loaded versions by number.

    One thread at a time changes which versions there are. `find` and `use` may be called by others at any time, so that
    every loop is over a copy.

    Args:
        name: The model.
        limit: Number of other versions that stay loaded beside those of `keep`. With 0, one ends after its request.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        self._loaded: dict[int, Servable] = {}
        self._used: dict[int, float] = {}
        """Time of the last request for each."""
        self._named: frozenset[int] = frozenset()

    def keep(self, named: Iterable[int]) -> None:
        """Keep these versions loaded, which the settings name."""
        self._named = frozenset(named)

    def find(self, version: int) -> Servable | None:
        """A version, if it is loaded."""
        return self._loaded.get(version)

    def use(self, version: int) -> Servable | None:
        """A version, if it is loaded, for a request."""
        found = self._loaded.get(version)
        if found:
            self._used[version] = time.monotonic()
        return found

    def all(self) -> list[Servable]:
        """Every version."""
        return list(self._loaded.values())

    def add(self, servable: Servable) -> None:
        """Add a version; `evict` then makes room for it."""
        self._loaded[servable.version] = servable

    def add_requested(self, servable: Servable) -> None:
        """Add a version that a client requested."""
        self._used[servable.version] = time.monotonic()
        self.add(servable)
        self.evict()

    def remove(self, version: int) -> None:
        """Remove a version, if it is there."""
        self._loaded.pop(version, None)

    def remove_unless(self, is_allowed: Callable[[int], bool]) -> None:
        """Remove the versions that the settings do not allow any more."""
        for version in list(self._loaded):
            if not is_allowed(version):
                self.remove(version)

    def clear(self) -> None:
        """Remove all."""
        self._loaded.clear()

    def check_room(self) -> None:
        """Check that one more version may be loaded for a client.

        Raises:
            Overloaded: It would replace one that was requested a moment ago.
        """
        evictable = self._evictable()
        if not self._limit or len(evictable) < self._limit:
            return
        left_s = self._last_use(evictable[0]) + KEPT_S - time.monotonic()
        if left_s > 0:
            raise Overloaded(
                f"{len(evictable)} other versions of model '{self._name}' were requested in the last {KEPT_S:g} s",
                hint=f"retry later; the operator can name versions in serve.models.{self._name}.versions",
                retry_after_s=math.ceil(left_s),
            )

    def evict(self) -> None:
        """Remove the versions whose last request is longest ago, except those that the settings name."""
        evictable = self._evictable()
        for version in evictable[: max(0, len(evictable) - self._limit)]:
            self.remove(version)
        for version in set(self._used) - set(self._loaded):
            self._used.pop(version, None)

    def _evictable(self) -> list[int]:
        """The versions that the settings do not name, the one whose last request is longest ago first."""
        return sorted((version for version in self._loaded if version not in self._named), key=self._last_use)

    def _last_use(self, version: int) -> float:
        return self._used.get(version, -math.inf)
