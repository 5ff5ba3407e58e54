"""The page of jobs: what waits, who works on it, when it will be done."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.web.overview import jobs
from pipeline.web.parts import Parts
from pipeline.web.rendering import page


def routes(parts: Parts) -> list[Route]:
    """``/jobs``."""

    def show(request: Request) -> Response:
        return page(request, "jobs.html", jobs=jobs(parts))

    return [Route("/jobs", show)]
