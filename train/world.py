"""One rank's place among all; nothing else divides by the world size."""

from dataclasses import dataclass
from typing import Final

from millrace.errors import ConfigError

SHARDS: Final = 480
"""Canonical shards of a split; every world size that may be used divides it."""


@dataclass(frozen=True)
class World:
    """This process among all.

    Attributes:
        rank: 0 to size - 1.
        size: How many ranks there are.
    """

    rank: int
    size: int

    def __post_init__(self) -> None:
        if SHARDS % self.size:
            divisors = ", ".join(str(n) for n in range(1, SHARDS + 1) if SHARDS % n == 0)
            raise ConfigError(f"ranks.world_size: {self.size} does not divide {SHARDS}; expected one of {divisors}")

    def shards(self) -> range:
        """Numbers of this rank's shards."""
        count = SHARDS // self.size
        return range(self.rank * count, (self.rank + 1) * count)
