"""Counts of a loaded version: requests, time per phase, sizes of batches.

They are plain numbers, because every request adds to them. `serve.monitoring.metrics` and Triton's statistics read
them.
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
    """Counts values in buckets; thread-safe.

    Args:
        bounds: Upper bounds of the buckets, ascending; one more bucket is for larger values.
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
        """The number of values."""
        return sum(self.counts)

    def buckets(self) -> list[tuple[str, int]]:
        """Upper bounds and the number of values up to each, as Prometheus wants them."""
        listed, below = [], 0
        with self._lock:
            for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
                below += count
                listed.append(("+Inf" if bound == float("inf") else repr(float(bound)), below))
        return listed


@dataclass(frozen=True)
class Statistics:
    """The counts of one loaded version; times in seconds.

    Attributes:
        succeeded: Time of answered requests.
        failed: Time of requests that were refused or failed.
        queue: Time that requests waited for a batch.
        decode: Time to decode a batch.
        compute: Time of TensorFlow's calls.
        encode: Time to encode the responses.
        batch_rows: Rows of TensorFlow's calls.
        outside: Number of values outside of the model's domains.
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
        """The batch sizes so far, rounded up to the bounds of the buckets."""
        return [int(bound) for bound, count in zip(BUCKETS_ROWS, self.batch_rows.counts, strict=False) if count]

    @property
    def phases(self) -> dict[str, Distribution]:
        """The phases of a request, in order."""
        return {"decode": self.decode, "queue": self.queue, "compute": self.compute, "encode": self.encode}
