"""The metrics of several workers on one page.

Each worker writes its own page to a file once a second; whichever is asked adds up its own and the files of the others.
What a worker that ended has counted stays, so that no counter falls.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import psutil
from prometheus_client import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

LATEST: Final = ("_loaded", "_reachable", "_created")
"""Ends of names whose values are not added up: the largest or, of what has to be reachable everywhere, the least."""


class SharedPages:
    """The pages of all workers, as files in a folder.

    Args:
        folder: Of the server; each worker has a file in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mine = folder / f"{os.getpid()}.prom"

    def write(self, page: bytes) -> None:
        """Let the others see this worker's page."""
        part = self._mine.with_suffix(".part")
        part.write_bytes(page)
        part.replace(self._mine)

    def merged(self, page: bytes) -> bytes:
        """This worker's page, and what the others wrote last, added up."""
        others = []
        for file in self._folder.glob("*.prom"):
            if file != self._mine:
                with contextlib.suppress(OSError):
                    others.append((psutil.pid_exists(int(file.stem)), file.read_text()))
        return merge([(True, page.decode()), *others])


def merge(pages: Iterable[tuple[bool, str]]) -> bytes:
    """Pages added up.

    Args:
        pages: Whether who wrote it is alive, and the page; of the dead only what they counted stays.
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
    return min(one, other) if name.endswith("_reachable") else max(one, other)


class _Merged:
    """Families as prometheus_client collects them."""

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
