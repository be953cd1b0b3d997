"""The metrics of the server for Prometheus. Label values are only routes and loaded models, not client input."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from serve.servables.servable import Servable

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
MEDIA_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """The metrics of one application, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter("millrace_requests", "Requests answered.", ["route", "status"], registry=self.registry)
        self._seconds = Histogram(
            "millrace_request_seconds",
            "Time from a request's head to its answer's end.",
            ["route"],
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self._reloads = Counter(
            "millrace_reloads", "Newer versions found in the store.", ["model", "outcome"], registry=self.registry
        )
        self._reachable = Gauge(
            "millrace_store_reachable", "1 if the model store could be read at the last look.", registry=self.registry
        )
        self._reachable.set(1)
        self._counted: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        """Looking up a metric by its labels takes longer than increasing it."""

    def count_reload(self, model: str, outcome: str) -> None:
        """Count a newer version, by whether it was loaded."""
        self._reloads.labels(model, outcome).inc()

    def set_reachable(self, reachable: bool) -> None:
        """Set whether the store could be read."""
        self._reachable.set(reachable)

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        known = self._counted.get((route, status))
        if known is None:
            known = self._requests.labels(route, str(status)), self._seconds.labels(route)
            self._counted[route, status] = known
        requests, histogram = known
        requests.inc()
        histogram.observe(seconds)

    def render(
        self,
        versions: Sequence[tuple[Servable, int]],
        ready: Mapping[str, bool] | None = None,
        failed: Iterable[tuple[str, int]] = (),
    ) -> bytes:
        """All metrics in Prometheus' text format.

        Args:
            versions: The loaded versions, and the rows in their queues.
            ready: For each model, whether a version answers.
            failed: Models and versions that cannot be loaded.
        """
        models = generate_latest(_Models(ready or {}, failed))
        return generate_latest(self.registry) + models + generate_latest(_Versions(versions))


class _Models:
    """Which models answer, and which versions cannot be loaded, as a collector of prometheus_client."""

    def __init__(self, ready: Mapping[str, bool], failed: Iterable[tuple[str, int]]) -> None:
        self._ready = ready
        self._failed = failed

    def collect(self) -> Iterator[Metric]:
        """Every family."""
        ready = GaugeMetricFamily("millrace_model_ready", "1 if a version of the model answers.", labels=["model"])
        for name, is_ready in self._ready.items():
            ready.add_metric([name], is_ready)
        failed = GaugeMetricFamily(
            "millrace_version_failed", "1 for each version that cannot be loaded.", labels=["model", "version"]
        )
        for name, version in self._failed:
            failed.add_metric([name, str(version)], 1)
        yield from (ready, failed)


class _Versions:
    """The statistics of loaded versions as a collector of prometheus_client."""

    def __init__(self, versions: Sequence[tuple[Servable, int]]) -> None:
        self._versions = versions

    def collect(self) -> Iterator[Metric]:
        """Every family."""
        labels = ["model", "version"]
        loaded = GaugeMetricFamily("millrace_model_loaded", "1 for each loaded version.", labels=[*labels, "digest"])
        restarts = CounterMetricFamily(
            "millrace_model_restarts", "How often a version's process ended and was started again.", labels=labels
        )
        queued = GaugeMetricFamily("millrace_queued_rows", "Rows that wait for a batch.", labels=labels)
        rows = HistogramMetricFamily("millrace_batch_rows", "Rows of TensorFlow's calls.", labels=labels)
        phases = HistogramMetricFamily(
            "millrace_phase_seconds",
            "Time of a request's queue and encode, of a batch's decode and compute.",
            labels=[*labels, "phase"],
        )
        infers = HistogramMetricFamily(
            "millrace_infer_seconds",
            "Time of a request from its decoded body to its outputs.",
            labels=[*labels, "outcome"],
        )
        outside = CounterMetricFamily(
            "millrace_outside_domain_values",
            "Values that the contract does not allow, or that training has not seen.",
            labels=[*labels, "input", "domain"],
        )
        for servable, waiting in self._versions:
            statistics = servable.statistics
            mine = [servable.name, str(servable.version)]
            loaded.add_metric([*mine, servable.origin.digest], 1)
            restarts.add_metric(mine, servable.restarts)
            queued.add_metric(mine, waiting)
            rows.add_metric(mine, statistics.batch_rows.buckets(), statistics.batch_rows.total)
            for phase, seconds in statistics.phases.items():
                phases.add_metric([*mine, phase], seconds.buckets(), seconds.total)
            for outcome, seconds in (("succeeded", statistics.succeeded), ("failed", statistics.failed)):
                infers.add_metric([*mine, outcome], seconds.buckets(), seconds.total)
            for (name, kind), count in dict(statistics.outside).items():
                outside.add_metric([*mine, name, kind], count)
        yield from (loaded, restarts, queued, rows, phases, infers, outside)
