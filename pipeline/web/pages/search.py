"""The search page, its further rows, and its filters."""

from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.postgres.connections import Connection
from pipeline.search.results import RANKINGS
from pipeline.web import catalogue, facets
from pipeline.web.asked import MOST_ROWS, MOST_TERMS, Asked
from pipeline.web.catalogue import Card, Chip, Waiting
from pipeline.web.faults import PageError, as_page_error
from pipeline.web.parts import Parts
from pipeline.web.rendering import page
from pipeline.web.searching import rows_of, statement_of
from pipeline.web.statement import of_items
from pipeline.web.typed import Typed, understood
from pipeline.web.urls import read_url, values_of

_NEWEST_ROWS = 1_000


@dataclass(slots=True)
class _View:
    """What a search page shows.

    Attributes:
        typed: what the form holds.
        error: why there are no rows, where no field is to blame.
        more: the URL's query of the rows that follow.
        has_image: whether what is searched by is a file with an image.
        item: the item that is searched by, if the reader sees it.
    """

    typed: Typed
    cards: list[Card] = field(default_factory=list)
    shown: str = ""
    more: str | None = None
    chips: list[Chip] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    waiting: Waiting | None = None
    error: PageError | None = None
    has_image: bool = False
    item: Card | None = None


def routes(parts: Parts) -> list[Route]:
    """``/`` and ``/facets``."""

    def index(request: Request) -> Response:
        asked, typed = understood(values_of(request))
        view = _View(typed=typed, error=typed.elsewhere)
        if not typed.wrong:
            try:
                _search(parts, asked, view)
            except Exception as exc:
                view.error = as_page_error(exc)
        errors = [*typed.wrong.values(), *([view.error] if view.error else [])]
        if request.headers.get("hx-request") and not errors:
            return page(request, "rows.html", asked=asked, view=view, **_CHOICES)
        if errors and not view.chips:
            _describe(parts, asked, view)
        status = errors[0].status if errors else 200
        return page(request, "search.html", status=status, asked=asked, view=view, **_CHOICES)

    def filters(request: Request) -> Response:
        asked = read_url(request)
        found = parts.finder.find(asked.terms)
        chosen = parts.reading.read(
            lambda connection: facets.facets(
                connection, statement_of(connection, asked, found, facets.ROWS, _NEWEST_ROWS)
            ),
            seconds=facets.SECONDS,
        )
        fragment = bool(request.headers.get("hx-request"))
        template = "facets.html" if fragment else "filters.html"
        return page(request, template, asked=asked, facets=chosen)

    return [Route("/", index), Route("/facets", filters)]


_CHOICES: dict[str, Any] = {"rankings": RANKINGS, "most_terms": MOST_TERMS, "most_rows": MOST_ROWS}


def _search(parts: Parts, asked: Asked, view: _View) -> None:
    found = parts.finder.find(asked.terms)
    view.has_image = bool(asked.file and parts.finder.files.get(asked.file).image)

    def look(connection: Connection) -> None:
        rows = rows_of(connection, asked, found)
        view.cards, view.shown = rows.cards, rows.shown
        _describe_by(connection, asked, view)
        if not view.cards and asked.after is None:
            view.waiting = catalogue.waiting(connection)
        if rows.after is not None:
            view.more = asked.changed(after=rows.after)

    parts.reading.read(look)


def _describe(parts: Parts, asked: Asked, view: _View) -> None:
    """What the form shows although the search failed."""
    try:
        parts.reading.read(lambda connection: _describe_by(connection, asked, view))
    except Exception as exc:
        as_page_error(exc)  # logs it; the page says already that something is wrong


def _describe_by(connection: Connection, asked: Asked, view: _View) -> None:
    if asked.item is not None:
        view.item = next(iter(catalogue.cards(connection, of_items([asked.item]))), None)
    view.chips = catalogue.chips(connection)
    view.sources = list(catalogue.attached(connection))
