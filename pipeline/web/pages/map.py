"""The map: items of all modalities in two dimensions. It is drawn in the browser."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.postgres.connections import Connection
from pipeline.web import catalogue
from pipeline.web.asked import Asked
from pipeline.web.catalogue import Chip, Waiting
from pipeline.web.faults import PageError
from pipeline.web.map import FEWEST_POINTS, MOST_POINTS, Maps
from pipeline.web.parts import Parts
from pipeline.web.rendering import page
from pipeline.web.statement import of_items
from pipeline.web.typed import item_number

MOST_CARDS = 60


def routes(parts: Parts) -> list[Route]:
    """``/map``, its points as JSON, and cards of some of its items."""
    maps = Maps(parts.reading, MOST_POINTS)

    def show(request: Request) -> Response:
        def look(connection: Connection) -> tuple[list[Chip], Waiting | None]:
            chips = [chip for chip in catalogue.chips(connection) if chip.items]
            return chips, None if chips else catalogue.waiting(connection)

        chips, waiting = parts.reading.read(look)
        count = sum(chip.items for chip in chips)
        return page(
            request,
            "map.html",
            chips=chips,
            view={"waiting": waiting},
            asked=Asked(),
            count=count,
            is_drawn=count >= FEWEST_POINTS,
            most_cards=MOST_CARDS,
            most_points=MOST_POINTS,
        )

    def points(request: Request) -> Response:
        known = request.headers.get("if-none-match", "").strip('"')
        key, made = maps.map(known)
        headers = {"ETag": f'"{key}"'}
        if made is None:
            return Response(status_code=304, headers=headers)
        return Response(made, media_type="application/json", headers=headers)

    def cards(request: Request) -> Response:
        ids = [item_number(text) for text in request.query_params.getlist("id")]
        if len(ids) > MOST_CARDS:
            raise PageError(400, f"At most {MOST_CARDS} items are shown at a time.")
        found = parts.reading.read(lambda c: catalogue.cards(c, of_items(ids)) if ids else [])
        found.sort(key=lambda card: ids.index(card.id))
        return page(request, "cards.html", cards=found)

    return [Route("/map", show), Route("/map/points", points), Route("/map/cards", cards)]
