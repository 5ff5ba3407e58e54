"""The page of jobs: what waits, who works on it, when it will be done."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.queue import status
from pipeline.queue.pauses import pauses
from pipeline.web.parts import Parts
from pipeline.web.rendering import page


def routes(parts: Parts) -> list[Route]:
    """``/jobs``."""

    def show(request: Request) -> Response:
        found, paused, left = parts.reading.read(
            lambda connection: (
                status.work(connection),
                pauses(connection),
                status.unsupported(connection),
            )
        )
        holders = parts.own.read(status.holders) if parts.own else None
        return page(
            request, "jobs.html", work=found, paused=paused, unsupported=left, holders=holders
        )

    return [Route("/jobs", show)]
