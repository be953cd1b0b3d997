"""What the server counts, for Prometheus; labels come from routes and loaded models only."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from serve.servable import Servable

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
        self._infer_seconds = Histogram(
            "millrace_infer_seconds",
            "Time of one inference, encoding and decoding left out.",
            ["model", "version"],
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self._rows = Counter("millrace_rows", "Rows answered.", ["model", "version"], registry=self.registry)
        self._loaded = Gauge(
            "millrace_model_loaded",
            "1 for each loaded version.",
            ["model", "version", "digest"],
            registry=self.registry,
        )

        self._reloads = Counter(
            "millrace_reloads", "Newer versions found in the store.", ["model", "outcome"], registry=self.registry
        )
        self._reachable = Gauge(
            "millrace_store_reachable", "1 if the model store could be read at the last look.", registry=self.registry
        )
        self._reachable.set(1)

    def count_reload(self, model: str, outcome: str) -> None:
        """Note that a newer version was found, and whether it was loaded."""
        self._reloads.labels(model, outcome).inc()

    def set_reachable(self, reachable: bool) -> None:
        """Note whether the store could be read."""
        self._reachable.set(reachable)

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Note an answered request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_rows(self, servable: Servable, rows: int, seconds: float) -> None:
        """Note an inference."""
        self._rows.labels(servable.name, str(servable.version)).inc(rows)
        self._infer_seconds.labels(servable.name, str(servable.version)).observe(seconds)

    def render(self, loaded: list[Servable]) -> bytes:
        """All metrics in Prometheus' text format.

        Args:
            loaded: What is loaded now.
        """
        self._loaded.clear()
        for servable in loaded:
            self._loaded.labels(servable.name, str(servable.version), servable.origin.digest).set(1)
        return generate_latest(self.registry)
