"""What ``pipeline serve`` counts."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from pipeline.metrics.buckets import BATCH, SECONDS
from pipeline.search.serve_report import Answered


class ServeMetrics:
    """Of one server, which tells :meth:`on_answered`."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._queries = Counter(
            "pipeline_serve_queries",
            "Queries that asked by the database, by kind and outcome.",
            ("kind", "outcome"),
            registry=registry,
        )
        self._seconds = Histogram(
            "pipeline_serve_query_seconds",
            "From a query's claim until its answer was written.",
            ("kind",),
            buckets=SECONDS,
            registry=registry,
        )
        self._batch = Histogram(
            "pipeline_serve_batch_queries",
            "Queries that were answered together.",
            ("kind",),
            buckets=BATCH,
            registry=registry,
        )
        for kind in ("texts", "files"):  # so that they are there, at 0, before the first
            self._seconds.labels(kind)
            self._batch.labels(kind)
            for outcome in ("answered", "refused"):
                self._queries.labels(kind, outcome)

    def on_answered(self, done: Answered) -> None:
        """Count it."""
        self._queries.labels(done.kind, "answered").inc(done.answered)
        self._queries.labels(done.kind, "refused").inc(done.refused)
        self._batch.labels(done.kind).observe(done.answered + done.refused)
        for _ in range(done.answered + done.refused):
            self._seconds.labels(done.kind).observe(done.seconds)
