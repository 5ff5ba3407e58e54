"""The page of jobs: what waits, who works on it, when it will be done; pauses."""

from datetime import UTC, datetime

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.queue import pauses
from pipeline.web.faults import PageError
from pipeline.web.forms import back, said, sent
from pipeline.web.guard import Tokens
from pipeline.web.overview import jobs
from pipeline.web.parts import Parts
from pipeline.web.rendering import page

MOST_WHY = 400  # characters


def routes(parts: Parts, tokens: Tokens) -> list[Route]:
    """``/jobs``; ``/jobs/pause`` and ``/jobs/resume`` for who may write."""

    def show(request: Request) -> Response:
        is_refresh = "hx-request" in request.headers
        return page(
            request,
            "queue.html" if is_refresh else "jobs.html",
            jobs=jobs(parts),
            now=datetime.now(UTC),
            csrf=tokens.csrf if parts.own else None,
            most_why=MOST_WHY,
            done=said(request),
        )

    async def pausing(request: Request) -> Response:
        own, fields = await sent(request, parts, tokens)
        space, why = fields.get("space", ""), fields.get("why", "").strip()
        if len(why) > MOST_WHY:
            raise PageError(400, f"The reason has more than {MOST_WHY} characters.")
        await run_in_threadpool(own.write, lambda c: pauses.pause(c, space, why or None))
        return back(request, "/jobs", done=f"{space} is paused; what is in hand is finished")

    async def resuming(request: Request) -> Response:
        own, fields = await sent(request, parts, tokens)
        space = fields.get("space", "")
        was_paused = await run_in_threadpool(own.write, lambda c: pauses.resume(c, space))
        done = f"{space} goes on" if was_paused else f"{space} was not paused"
        return back(request, "/jobs", done=done)

    return [
        Route("/jobs", show),
        Route("/jobs/pause", pausing, methods=["POST"]),
        Route("/jobs/resume", resuming, methods=["POST"]),
    ]
