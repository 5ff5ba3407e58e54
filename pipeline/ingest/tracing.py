"""A row's way as a trace: from its claim until it is written, failed or given back."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.ingest.events import Ended, WorkEvents
from pipeline.jobs import ClaimedJob, Fence
from pipeline.tracing import PREFIX, find_tracer, mark_failed

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer


def traced(events: WorkEvents, space: str) -> WorkEvents:
    """The same events, which make a trace of each row that the provider samples; as they are, where
    there is no provider."""
    tracer = find_tracer()
    if tracer is None:
        return events
    rows = _Rows(tracer, space)
    return replace(
        events,
        claimed=rows.claimed,
        prepared=rows.prepared,
        embedded=rows.embedded,
        ended=rows.ended,
        over=rows.over,
    )


class _Rows:
    """The rows in hand that are traced, each with its span; stages call from their threads."""

    def __init__(self, tracer: "Tracer", space: str) -> None:
        self._tracer = tracer
        self._space = space
        self._lock = threading.Lock()
        self._spans: dict[Fence, Span] = {}

    def claimed(self, jobs: Sequence[ClaimedJob], began: int, ended: int) -> None:
        for job in jobs:
            span = self._tracer.start_span(
                f"{PREFIX}row",
                attributes={
                    f"{PREFIX}space": self._space,
                    f"{PREFIX}modality": job.modality,
                    f"{PREFIX}source_id": job.source_id,
                    f"{PREFIX}attempt": job.attempts,
                },
                start_time=began,
            )
            if span.is_recording():
                with self._lock:
                    self._spans[job.fence] = span
        self._stage("claim", jobs, began, ended)

    def prepared(self, jobs: Sequence[ClaimedJob], began: int, ended: int) -> None:
        self._stage("load", jobs, began, ended)

    def embedded(self, jobs: Iterable[ClaimedJob], inputs: int, began: int, ended: int) -> None:
        once = {job.fence: job for job in jobs}
        self._stage("embed", once.values(), began, ended, inputs)

    def ended(self, jobs: Sequence[ClaimedJob], how: Ended, began: int, ended: int) -> None:
        self._stage("store", jobs, began, ended)
        for job in jobs:
            with self._lock:
                span = self._spans.pop(job.fence, None)
            if span is None:
                continue
            span.set_attribute(f"{PREFIX}outcome", how.outcome)
            if how.code:
                mark_failed(span, how.code)
            span.end(ended)

    def over(self) -> None:
        """What is still in hand when the worker ends comes back by its lease."""
        with self._lock:
            left = list(self._spans.values())
            self._spans.clear()
        for span in left:
            span.set_attribute(f"{PREFIX}outcome", "left")
            span.end()

    def _stage(
        self, name: str, jobs: Iterable[ClaimedJob], began: int, ended: int, together: int = 0
    ) -> None:
        """One span for each row; they did it at the same time, and perhaps with others."""
        from opentelemetry.trace import set_span_in_context

        for job in jobs:
            with self._lock:
                of_row = self._spans.get(job.fence)
            if of_row is None:
                continue
            span = self._tracer.start_span(
                PREFIX + name,
                context=set_span_in_context(of_row),
                attributes={f"{PREFIX}inputs": together} if together else None,
                start_time=began,
            )
            span.end(ended)
