"""Forms that change something: who may send them, and what is in them."""

import re
from urllib.parse import parse_qs, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pipeline.postgres.reading import Reading
from pipeline.web.faults import PageError
from pipeline.web.guard import Tokens
from pipeline.web.parts import Parts

_MOST = 16_384


async def sent(request: Request, parts: Parts, tokens: Tokens) -> tuple[Reading, dict[str, str]]:
    """Who writes, and the fields of a form of ours; of a name that is there twice the first.

    Raises:
        PageError: these pages only read, the form is another's, or too long.
    """
    if parts.own is None:
        raise PageError(
            403, "These pages only read.", "Start them with `pipeline web --allow-writes`."
        )
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST:
            raise PageError(413, "This is too long.")
    fields = {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
    if any("\x00" in value for value in fields.values()):
        raise PageError(400, "There is a NUL in what was sent; leave it out.")
    if not tokens.is_csrf(fields.get("csrf", "")):
        raise PageError(
            403, "This form is not of these pages, or older than they.", "Load it again."
        )
    return parts.own, fields


# Anybody may write a link that says something was done; only what a form of ours says is shown.
_DONE = re.compile(
    r"\d+ back in the queue|source item \d+ removed"
    r"|.{1,200} (?:is paused; what is in hand is finished|goes on|was not paused)"
)


def said(request: Request) -> str:
    """What the form before this page did, to say it there."""
    done = request.query_params.get("done", "")
    return done if _DONE.fullmatch(done) else ""


def back(request: Request, path: str, **query: str) -> Response:
    """To a page that says what was done."""
    root = request.scope.get("root_path", "")
    kept = {name: value for name, value in query.items() if value}
    return RedirectResponse(f"{root}{path}?{urlencode(kept)}", 303)
