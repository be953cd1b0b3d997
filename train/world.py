"""The number of a rank and its shards. No other module divides by the world size."""

from dataclasses import dataclass

from millrace.config.sections.profile import SHARDS


@dataclass(frozen=True)
class World:
    """The place of this process among all ranks.

    Attributes:
        rank: Number of this rank, 0 to size - 1.
        size: Number of ranks.
    """

    rank: int
    size: int

    def shards(self) -> range:
        """The numbers of the shards of this rank."""
        count = SHARDS // self.size
        return range(self.rank * count, (self.rank + 1) * count)
