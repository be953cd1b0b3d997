"""What a loaded version has done: how often, how long in which phase, in batches of what size.

Counted in plain numbers, since every request passes here; `serve.monitoring.metrics` and Triton's statistics read them.
"""

import threading
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from serve.servables.domains import Counts

BUCKETS_S: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
BUCKETS_ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16_384)


class Distribution:
    """Counts values in buckets; of many threads.

    Args:
        bounds: Upper bounds of the buckets, ascending; values above the last are counted too.
    """

    def __init__(self, bounds: tuple[float, ...] = BUCKETS_S) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self._lock = threading.Lock()

    def add(self, *values: float) -> None:
        """Count values."""
        with self._lock:
            for value in values:
                self.counts[bisect_left(self.bounds, value)] += 1
                self.total += value

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def buckets(self) -> list[tuple[str, int]]:
        """Upper bound and number of values up to it, as Prometheus has them."""
        listed, below = [], 0
        with self._lock:
            for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
                below += count
                listed.append(("+Inf" if bound == float("inf") else repr(float(bound)), below))
        return listed


@dataclass(frozen=True)
class Statistics:
    """Of one loaded version, in seconds.

    Attributes:
        succeeded: Whole requests that were answered.
        failed: Whole requests that were refused or failed.
        queue: What requests waited for a batch.
        decode: What the values of a batch took.
        compute: TensorFlow's calls.
        encode: What answers took.
        batch_rows: Rows of TensorFlow's calls.
        outside: Values outside of the model's domains.
    """

    succeeded: Distribution = field(default_factory=Distribution)
    failed: Distribution = field(default_factory=Distribution)
    queue: Distribution = field(default_factory=Distribution)
    decode: Distribution = field(default_factory=Distribution)
    compute: Distribution = field(default_factory=Distribution)
    encode: Distribution = field(default_factory=Distribution)
    batch_rows: Distribution = field(default_factory=lambda: Distribution(BUCKETS_ROWS))

    outside: Counts = field(default_factory=Counter)

    def sizes(self) -> list[int]:
        """The buckets of rows that calls have fallen into, by their upper bounds."""
        return [int(bound) for bound, count in zip(BUCKETS_ROWS, self.batch_rows.counts, strict=False) if count]

    @property
    def phases(self) -> dict[str, Distribution]:
        """What a request goes through, in its order."""
        return {"decode": self.decode, "queue": self.queue, "compute": self.compute, "encode": self.encode}
