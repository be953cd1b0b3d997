"""The number of a rank and its shards. No other module divides by the world size."""

from dataclasses import dataclass
from typing import Final

from millrace.errors import ConfigError

SHARDS: Final = 480
"""Number of shards of a split; the world size must divide it."""


@dataclass(frozen=True)
class World:
    """The place of this process among all ranks.

    Attributes:
        rank: Number of this rank, 0 to size - 1.
        size: Number of ranks.
    """

    rank: int
    size: int

    def __post_init__(self) -> None:
        if SHARDS % self.size:
            divisors = ", ".join(str(n) for n in range(1, SHARDS + 1) if SHARDS % n == 0)
            raise ConfigError(f"ranks.world_size: {self.size} does not divide {SHARDS}; expected one of {divisors}")

    def shards(self) -> range:
        """The numbers of the shards of this rank."""
        count = SHARDS // self.size
        return range(self.rank * count, (self.rank + 1) * count)
