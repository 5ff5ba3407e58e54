"""The page of failures: by code, with the cure, and what may be done about them."""

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.errors import ROW_ERROR_CODES
from pipeline.postgres.connections import Connection
from pipeline.queue import failures
from pipeline.queue.cures import CURES
from pipeline.spaces import find_active
from pipeline.web.catalogue import named_space
from pipeline.web.faults import PageError
from pipeline.web.forms import back, said, sent
from pipeline.web.guard import Tokens
from pipeline.web.parts import Parts
from pipeline.web.rendering import page
from pipeline.web.typed import item_number
from pipeline.web.writing import remove, retry

_MOST_ROWS = 100


def routes(parts: Parts, tokens: Tokens) -> list[Route]:
    """``/review``; ``/review/retry`` and ``/review/remove`` for who may write."""

    def show(request: Request) -> Response:
        code = _code(request.query_params.get("code", ""))
        after = item_number(request.query_params.get("after") or "0")

        def look(connection: Connection) -> Response:
            name = request.query_params.get("space", "")
            space = named_space(connection, name) if name else find_active(connection)
            groups = failures.explained(failures.grouped(connection, space.id)) if space else []
            rows = _rows(connection, space.name, code, after) if space and code else []
            return page(
                request,
                "review.html",
                space=space,
                groups=groups,
                rows=rows,
                code=code,
                cure=CURES.get(code, ""),
                more=rows[-1]["source_id"] if len(rows) == _MOST_ROWS else None,
                csrf=tokens.csrf if parts.own else None,
                done=said(request),
            )

        return parts.oversee(look)

    async def retrying(request: Request) -> Response:
        own, fields = await sent(request, parts, tokens)
        code, number = _code(fields.get("code", "")), _number(fields)
        space = fields.get("space", "")
        count = await run_in_threadpool(own.write, lambda c: retry(c, space, code, number))
        done = f"{count} back in the queue"
        return back(request, "/review", code=code, space=space, done=done)

    async def removing(request: Request) -> Response:
        own, fields = await sent(request, parts, tokens)
        code, number = _code(fields.get("code", "")), _number(fields)
        if number is None:
            raise PageError(400, "Name the source item that is to go.")
        await run_in_threadpool(own.write_piecewise, lambda c: remove(c, number))
        done, space = f"source item {number} removed", fields.get("space", "")
        return back(request, "/review", code=code, space=space, done=done)

    return [
        Route("/review", show),
        Route("/review/retry", retrying, methods=["POST"]),
        Route("/review/remove", removing, methods=["POST"]),
    ]


def _number(fields: dict[str, str]) -> int | None:
    """The source item that a form names, if it names one."""
    return item_number(fields["source_id"]) if fields.get("source_id") else None


def _code(text: str) -> str:
    if text and text not in ROW_ERROR_CODES:
        raise PageError(400, f"There is no code {text[:40]!r}.")
    return text


def _rows(connection: Connection, space: str, code: str, after: int) -> list[dict[str, Any]]:
    found = failures.failed_with(connection, space, code, after=after, limit=_MOST_ROWS)
    return failures.explained(found)
