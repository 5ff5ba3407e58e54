"""Whether the pages answer, and whether they can answer a query."""

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from pipeline.postgres.connections import Connection
from pipeline.web.faults import as_page_error
from pipeline.web.parts import Parts

_SECONDS = 5.0


def routes(parts: Parts) -> list[Route]:
    """``/healthz``: this process answers; ``/readyz``: so it does queries."""

    def is_served(connection: Connection) -> str | None:
        row = connection.execute(
            "SELECT is_served(id) FROM embedding_spaces WHERE state = 'active'"
        ).fetchone()
        if row is None:
            return "no embedding space is active"
        return None if row[0] or parts.finder.loads else "nobody serves"

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    def readyz(request: Request) -> Response:
        try:
            reason = parts.reading.read(is_served, seconds=_SECONDS)
            if reason is None and not parts.is_settled():
                reason = "the model is being loaded"
        except Exception as exc:
            reason = as_page_error(exc).message
        return PlainTextResponse(f"{reason or 'ok'}\n", 503 if reason else 200)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]
