"""What a run of ingestion counts."""

import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pipeline.ingest.events import WorkEvents
from pipeline.ingest.report import IngestReport
from pipeline.metrics.buckets import BATCH, SECONDS
from pipeline.spaces import IndexProgress


class IngestMetrics(Collector):
    """Of one run, whose space is known once it has begun to work.

    Args:
        space: the space's name, as far as it is known before.
    """

    def __init__(self, space: str = "") -> None:
        self.registry = registry = CollectorRegistry()
        self._report = IngestReport(space)
        self._done = 0
        self._lapsed = 0
        self._last_row: float | None = None
        of_failure = ("space", "code", "outcome")
        self._failures = Counter(
            "pipeline_ingest_failures",
            "Attempts that failed, by the error's code and what became of the row.",
            of_failure,
            registry=registry,
        )
        of_batch = ("space", "modality")
        self._batch_seconds = Histogram(
            "pipeline_ingest_batch_seconds",
            "How long the model took for a batch.",
            of_batch,
            buckets=SECONDS,
            registry=registry,
        )
        self._batch_inputs = Histogram(
            "pipeline_ingest_batch_inputs",
            "Inputs of a batch.",
            of_batch,
            buckets=BATCH,
            registry=registry,
        )
        self._index = Gauge(
            "pipeline_ingest_index_build_ratio",
            "How much is done of the present phase of an index's build.",
            of_batch,
            registry=registry,
        )
        registry.register(self)

    @property
    def events(self) -> WorkEvents:
        """What a worker calls."""
        return WorkEvents(self._on_batch, self._on_failure, self._on_lapsed)

    def follow(self, report: IngestReport) -> None:
        """Called with the worker's report when it begins, and after every write."""
        if report.done > self._done:
            self._last_row = time.time()
        self._report, self._done = report, report.done

    def indexed(self, progress: IndexProgress) -> None:
        """How far an index is."""
        if progress.total:
            of = self._index.labels(self._report.space, progress.modality)
            of.set(progress.done / progress.total)

    def describe(self) -> Iterable[Metric]:
        """Nothing is known before the work."""
        return []

    @property
    def space(self) -> str:
        """Its name; empty where it is not known yet."""
        return self._report.space

    def collect(self) -> Iterable[Metric]:
        report = self._report
        if not report.space:
            return
        rows = CounterMetricFamily(
            "pipeline_ingest_rows", "Rows that ended, by how.", labels=("space", "outcome")
        )
        for outcome, count in (("done", report.done), ("failed", report.failed)):
            rows.add_metric((report.space, outcome), count)
        yield rows
        for name, what, count in (
            ("items", "Items written.", report.items),
            ("reused_parts", "Parts whose vector the space had already.", report.reused),
            ("model_tokens", "Tokens that a remote model's server counted.", report.tokens),
            ("leases_lapsed", "Leases whose worker had gone without a word.", self._lapsed),
        ):
            family = CounterMetricFamily(f"pipeline_ingest_{name}", what, labels=("space",))
            family.add_metric((report.space,), count)
            yield family
        busy = CounterMetricFamily(
            "pipeline_ingest_stage_busy_seconds",
            "Work of each stage, over all its threads.",
            labels=("space", "stage"),
        )
        for stage, seconds in report.busy.items():
            busy.add_metric((report.space, stage), seconds)
        yield busy
        retrying = GaugeMetricFamily(
            "pipeline_ingest_retrying_rows",
            "Rows of this run that wait for another attempt.",
            labels=("space",),
        )
        retrying.add_metric((report.space,), report.retrying)
        yield retrying
        if self._last_row is not None:
            last = GaugeMetricFamily(
                "pipeline_ingest_last_row_timestamp_seconds",
                "When a row was last done.",
                labels=("space",),
            )
            last.add_metric((report.space,), self._last_row)
            yield last

    def _on_batch(self, modality: str, inputs: int, seconds: float) -> None:
        self._batch_seconds.labels(self._report.space, modality).observe(seconds)
        self._batch_inputs.labels(self._report.space, modality).observe(inputs)

    def _on_failure(self, code: str, outcome: str) -> None:
        self._failures.labels(self._report.space, code, outcome).inc()

    def _on_lapsed(self, leases: int) -> None:
        self._lapsed += leases
