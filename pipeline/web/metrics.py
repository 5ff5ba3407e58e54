"""What Prometheus reads: requests as they are answered, and the state of the database when asked.

Labels are bounded: pages and statuses.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.metrics.database import SECONDS, OfDatabase
from pipeline.postgres.connections import Connection
from pipeline.postgres.reading import Reading
from pipeline.postgres.row_security import whole

T = TypeVar("T")

PAGES = (
    "api", "facets", "files", "healthz", "images", "items", "jobs", "login", "metrics", "readyz",
    "review", "spaces", "static",
)  # fmt: skip


class Metrics:
    """Of one application: nothing of it is in the process's own registry."""

    def __init__(self, reading: Reading) -> None:
        self.registry = CollectorRegistry()

        def read(work: Callable[[Connection], T], /) -> T:
            return reading.read(whole(work), seconds=SECONDS)

        self.registry.register(OfDatabase(read))
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
