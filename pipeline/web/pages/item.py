"""The page of one item."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.postgres.connections import Connection
from pipeline.search.item import Item
from pipeline.web import catalogue
from pipeline.web.asked import Asked, Term
from pipeline.web.catalogue import Card
from pipeline.web.faults import PageError, as_page_error
from pipeline.web.item import DUPLICATE, item_of_page, labelled, labels_of, siblings
from pipeline.web.parts import Parts
from pipeline.web.rendering import page
from pipeline.web.statement import Found, of_search
from pipeline.web.typed import item_number, text_of

_NEIGHBOURS = 8


def routes(parts: Parts) -> list[Route]:
    """``/items/ID``."""

    def show(request: Request) -> Response:
        number = request.path_params["item"]
        source = item_number(said) if (said := request.query_params.get("of")) else None
        typed = text_of(request.query_params.get("labels", ""))

        def look(
            connection: Connection,
        ) -> tuple[Item, list[tuple[int, int]], dict[str, list[Card]]]:
            found = item_of_page(connection, number, source)
            return found, siblings(connection, found), _neighbours(connection, number)

        found, others, near = parts.reading.read(look)
        labels, error = _labels(parts, number, typed)
        return page(
            request,
            "item.html",
            item=found,
            parts=others,
            near=near,
            duplicate=DUPLICATE,
            typed=typed,
            labels=labels,
            error=error,
        )

    return [Route("/items/{item:int}", show)]


def _neighbours(connection: Connection, number: int) -> dict[str, list[Card]]:
    """By modality, the items nearest to it."""
    found = [Found(Term(item=number))]
    return {
        chip.modality: catalogue.cards(
            connection, of_search(Asked(modalities=(chip.modality,)), found, _NEIGHBOURS)
        )
        for chip in catalogue.chips(connection)
        if chip.items
    }


def _labels(
    parts: Parts, number: int, typed: str
) -> tuple[list[tuple[str, float]], PageError | None]:
    """What the labels typed are worth; the page is shown even where that cannot be said."""
    try:
        labels = labels_of(typed)
        if not labels:
            return [], None
        parts.finder.find([Term(text=label) for label in labels])  # so that they are in the cache
        return parts.reading.read(lambda connection: labelled(connection, number, labels)), None
    except Exception as exc:
        return [], as_page_error(exc)
