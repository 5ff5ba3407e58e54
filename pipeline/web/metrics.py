"""What Prometheus reads: requests as they are answered, and the state of the database when asked.

Labels are bounded: pages, statuses, and spaces and modalities, of which a database has a few.
"""

import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.postgres.connections import Connection
from pipeline.postgres.reading import Reading
from pipeline.queue import status
from pipeline.web.faults import as_page_error

PAGES = (
    "facets", "files", "healthz", "images", "items", "jobs", "login", "metrics", "readyz", "review",
    "spaces", "static",
)  # fmt: skip
_SECONDS = 5.0


class Metrics:
    """Of one application: nothing of it is in the process's own registry."""

    def __init__(self, reading: Reading) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_OfDatabase(reading))
        self._requests = Counter(
            "pipeline_web_requests",
            "Requests answered.",
            ("page", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "pipeline_web_request_seconds",
            "How long a request took.",
            ("page",),
            registry=self.registry,
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0),
        )

    def counting(self, app: ASGIApp) -> ASGIApp:
        """The same application, each of whose requests is counted."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            began, status = time.perf_counter(), 500

            async def noting(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            try:
                await app(scope, receive, noting)
            finally:
                page = _page(scope)
                self._requests.labels(page, status).inc()
                self._seconds.labels(page).observe(time.perf_counter() - began)

        return counted


def _page(scope: Scope) -> str:
    path = scope["path"].removeprefix(scope.get("root_path", "")).strip("/").partition("/")[0]
    return path if path in PAGES else "search" if not path else "other"


class _OfDatabase(Collector):
    """What the database says when it is asked."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Nothing, so that nobody is asked when it is registered."""
        return []

    def collect(self) -> Iterable[GaugeMetricFamily]:
        up = GaugeMetricFamily("pipeline_database_up", "Whether the database answers: 1 or 0.")
        try:
            found = self._reading.read(status.work, seconds=_SECONDS)
            spaces = self._reading.read(_spaces, seconds=_SECONDS)
        except Exception as exc:
            as_page_error(exc)  # logs it
            up.add_metric((), 0)
            yield up
            return
        up.add_metric((), 1)
        yield up
        yield from _of_work(found)
        of = ("space", "state", "model")
        info = GaugeMetricFamily("pipeline_space_info", "Spaces; always 1.", labels=of)
        served = GaugeMetricFamily(
            "pipeline_space_served", "Whether somebody serves a space: 1 or 0.", labels=("space",)
        )
        for name, state, model, is_served in spaces:
            info.add_metric((name, state, model), 1)
            served.add_metric((name,), int(is_served))
        yield info
        yield served


def _of_work(found: list[status.Work]) -> Iterable[GaugeMetricFamily]:
    of = ("space", "modality")
    items = GaugeMetricFamily("pipeline_items", "Items stored.", labels=of)
    jobs = GaugeMetricFamily("pipeline_jobs", "Jobs by state.", labels=(*of, "state"))
    oldest = GaugeMetricFamily(
        "pipeline_oldest_pending_seconds",
        "How long ago the source item changed whose job waits longest.",
        labels=of,
    )
    for one in found:
        place = (one.space, one.modality)
        items.add_metric(place, one.items)
        for state, count in (
            ("pending", one.pending), ("running", one.running), ("failed", one.failed),
        ):  # fmt: skip
            jobs.add_metric((*place, state), count)
        age = one.oldest_pending.total_seconds() if one.oldest_pending else 0.0
        oldest.add_metric(place, age)
    return items, jobs, oldest


def _spaces(connection: Connection) -> list[tuple[str, str, str, bool]]:
    return connection.execute(
        "SELECT name, state, model, is_served(id) FROM embedding_spaces ORDER BY id LIMIT 100"
    ).fetchall()
