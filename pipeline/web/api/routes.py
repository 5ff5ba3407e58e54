"""``/api/...``: as the pages, and nothing that they would not show."""

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.postgres.connections import Connection
from pipeline.web import overview
from pipeline.web.api.answers import Item, Jobs, Search, Space, Spaces
from pipeline.web.api.comparison import Comparison
from pipeline.web.api.description import MOST_LIMIT, description
from pipeline.web.asked import PAGE
from pipeline.web.comparing import beside_active, compare, queries_of
from pipeline.web.faults import PageError
from pipeline.web.item import item_of_page, siblings
from pipeline.web.parts import Parts
from pipeline.web.searching import rows_of
from pipeline.web.typed import item_number, text_of
from pipeline.web.urls import read_url


def routes(parts: Parts) -> list[Route]:
    """All of the API."""

    def search(request: Request) -> Response:
        asked, rows = read_url(request), _limit(request)
        found = parts.finder.find(asked.terms)
        return _said(
            parts.reading.read(
                lambda connection: Search.of(rows_of(connection, asked, found, rows))
            )
        )

    def one(request: Request) -> Response:
        number = request.path_params["item"]
        source = item_number(said) if (said := request.query_params.get("of")) else None

        def look(connection: Connection) -> Item:
            found = item_of_page(connection, number, source)
            return Item.of(found, siblings(connection, found))

        return _said(parts.reading.read(look))

    def spaces(request: Request) -> Response:
        found = parts.oversee(overview.spaces)
        return _said(Spaces(spaces=[Space.of(shown) for shown in found]))

    def comparison(request: Request) -> Response:
        asked = request.query_params
        beside = parts.reading.read(lambda c: beside_active(c, request.path_params["space"]))
        modality = asked.get("modality") or beside.usual
        queries = queries_of(text_of("\n".join(asked.getlist("q"))))
        found = [compare(parts, beside, modality, query) for query in queries]
        return _said(Comparison.of(beside, modality, found))

    def jobs(request: Request) -> Response:
        return _said(Jobs.of(overview.jobs(parts)))

    def described(request: Request) -> Response:
        root = request.scope.get("root_path", "")
        return JSONResponse({**description(), "servers": [{"url": root or "/"}]})

    return [
        Route("/api/search", search),
        Route("/api/items/{item:int}", one),
        Route("/api/spaces", spaces),
        Route("/api/spaces/{space}/compare", comparison),
        Route("/api/jobs", jobs),
        Route("/api/openapi.json", described),
    ]


def _said(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", "").strip() or str(PAGE)
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= MOST_LIMIT):
        raise PageError(400, f"{text[:20]!r} is no limit.", f"Give one from 1 to {MOST_LIMIT}.")
    return int(text)
