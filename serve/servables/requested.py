"""The loaded versions of a model beside the current one: those that the settings name, and those that clients request.

A client may request any version by number. Only a few of these stay loaded, and one that is in use is not unloaded for
another: otherwise a client that requests old versions in turn would make the server load one after the other.
"""

import contextlib
import math
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from serve.errors import Overloaded
from serve.servables.servable import Servable

KEPT_S: Final = 60.0
"""Seconds after its last request in which a requested version is not unloaded for another one."""


class RequestedVersions:
    """Loaded versions by number, the one whose last request is longest ago first.

    One thread at a time changes it; `find` may be called by others.

    Args:
        name: The model.
        limit: Number of other versions that stay loaded beside those of `keep`. With 0, one ends after its request.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        self._loaded: OrderedDict[int, Servable] = OrderedDict()
        self._used: dict[int, float] = {}
        """Time of the last request for each."""
        self._named: frozenset[int] = frozenset()

    def keep(self, named: Iterable[int]) -> None:
        """Keep these versions loaded, which the settings name."""
        self._named = frozenset(named)

    def find(self, version: int) -> Servable | None:
        """A version, if it is loaded. This counts as a request for it."""
        found = self._loaded.get(version)
        if found:
            self._used[version] = time.monotonic()
            with contextlib.suppress(KeyError):  # another thread has just removed it
                self._loaded.move_to_end(version)
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
        left_s = self._used.get(evictable[0], -math.inf) + KEPT_S - time.monotonic()
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
            del self._loaded[version]
        for version in self._used.keys() - self._loaded.keys():
            del self._used[version]

    def _evictable(self) -> list[int]:
        return [version for version in self._loaded if version not in self._named]
