"""The sum of the metrics of several workers.

Each worker writes its metrics to a file once a second. The worker that gets a request for metrics adds its own to the
files of the others. The counts of workers that have ended remain, so that no counter decreases.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import psutil
from prometheus_client import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

ENDED: Final = "0.prom"
"""The file with the sum of the pages of ended workers; no process has the number 0."""
LOWEST: Final = ("_reachable", "_ready")
LATEST: Final = (*LOWEST, "_loaded", "_failed", "_created")
"""Suffixes of metrics that are not added: the highest value counts; of those in `LOWEST`, the lowest."""


class SharedPages:
    """The pages of all workers, as files in a folder.

    Args:
        folder: A folder of the server; each worker has a file in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mine = folder / f"{os.getpid()}.prom"

    def write(self, page: bytes) -> None:
        """Write the page of this worker for the others."""
        part = self._mine.with_suffix(".part")
        part.write_bytes(page)
        part.replace(self._mine)

    def merged(self, page: bytes) -> bytes:
        """The sum of this worker's page and the last pages of the others."""
        with self._locked():
            self._join_ended()
            others = []
            for file in self._folder.glob("*.prom"):
                if file != self._mine:
                    with contextlib.suppress(OSError):
                        others.append((_is_running(file), file.read_text()))
        return merge([(True, page.decode()), *others])

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # released when the file is closed
            yield

    def _join_ended(self) -> None:
        """Replace the pages of ended workers by their sum: one that ends again and again must not fill the disk."""
        ended = [file for file in self._folder.glob("*.prom") if not _is_running(file)]
        if len(ended) > 1:
            joined = merge([(False, file.read_text()) for file in ended])
            part = (self._folder / ENDED).with_suffix(".part")
            part.write_bytes(joined)
            for file in ended:
                file.unlink(missing_ok=True)
            part.replace(self._folder / ENDED)


def _is_running(file: Path) -> bool:
    return file.name != ENDED and psutil.pid_exists(int(file.stem))


def merge(pages: Iterable[tuple[bool, str]]) -> bytes:
    """Add up pages.

    Args:
        pages: For each, whether its worker is running, and the page. Gauges of ended workers are left out.
    """
    families: dict[str, Metric] = {}
    samples: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for alive, page in pages:
        for family in text_string_to_metric_families(page):
            if not alive and family.type == "gauge":
                continue
            families.setdefault(family.name, family)
            found = samples.setdefault(family.name, {})
            for sample in family.samples:
                key = (sample.name, tuple(sample.labels.items()))
                found[key] = _joined(sample.name, found[key], sample.value) if key in found else sample.value
    return generate_latest(_Merged(families, samples))


def _joined(name: str, one: float, other: float) -> float:
    if not name.endswith(LATEST):
        return one + other
    return min(one, other) if name.endswith(LOWEST) else max(one, other)


class _Merged:
    """The sums as a collector of prometheus_client."""

    def __init__(
        self, families: dict[str, Metric], samples: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]]
    ) -> None:
        self._families = families
        self._samples = samples

    def collect(self) -> Iterator[Metric]:
        """Every family."""
        for name, family in self._families.items():
            joined = Metric(name, family.documentation, family.type)
            joined.samples = [Sample(n, dict(labels), value) for (n, labels), value in self._samples[name].items()]
            yield joined
