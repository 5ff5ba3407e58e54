"""The page of two spaces side by side: figures of the gate, and what the same queries find."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline import modalities
from pipeline.postgres.connections import Connection
from pipeline.spaces import Space, active_space
from pipeline.web.asked import Term
from pipeline.web.catalogue import named_space
from pipeline.web.comparing import Compared, Figures, compared, figures, in_active, in_other
from pipeline.web.faults import PageError, as_page_error
from pipeline.web.parts import Parts
from pipeline.web.rendering import page
from pipeline.web.typed import text_of

MOST_QUERIES = 3


def routes(parts: Parts) -> list[Route]:
    """``/spaces/NAME/compare``."""

    def show(request: Request) -> Response:
        asked = request.query_params
        typed = text_of(asked.get("q", ""))
        active, other, known = parts.reading.read(
            lambda connection: _spaces(connection, request.path_params["name"])
        )
        both = [name for name in active.modalities if name in other.modalities]
        modality = asked.get("modality") or _first(both)
        error: PageError | None = None
        found: list[Compared] = []
        try:
            found = [_compare(parts, active, other, modality, query) for query in _lines(typed)]
        except Exception as exc:
            error = as_page_error(exc)
        return page(
            request,
            "comparison.html",
            status=error.status if error else 200,
            active=active,
            other=other,
            figures=known,
            modalities=both,
            modality=modality,
            typed=typed,
            most=MOST_QUERIES,
            found=found,
            error=error,
            may_ask=parts.own is not None and any(map(modalities.is_typed, other.embeds)),
        )

    return [Route("/spaces/{name}/compare", show)]


def _spaces(connection: Connection, name: str) -> tuple[Space, Space, list[Figures]]:
    active, other = active_space(connection), named_space(connection, name)
    if other.id == active.id:
        raise PageError(400, f"{name} is the active space: name another to compare it with.")
    return active, other, figures(connection, active, other)


def _first(names: list[str]) -> str:
    """What a text is best compared with: what nobody types, where there is such."""
    return next((n for n in names if not modalities.is_typed(n)), next(iter(names), ""))


def _lines(typed: str) -> list[str]:
    queries = list(dict.fromkeys(line.strip() for line in typed.splitlines() if line.strip()))
    if len(queries) > MOST_QUERIES:
        raise PageError(400, f"There are {len(queries)} queries; at most {MOST_QUERIES} at once.")
    return queries


def _compare(parts: Parts, active: Space, other: Space, modality: str, query: str) -> Compared:
    if parts.own is None:
        raise PageError(
            403,
            "The tables of a space that is not active are for who may embed.",
            "Start the pages with `pipeline web --allow-writes`.",
        )
    if modality not in active.modalities or modality not in other.modalities:
        known = ", ".join(modalities.ordered({*active.modalities} & {*other.modalities}))
        raise PageError(400, f"Both spaces have: {known}; not {modality[:40]!r}.")
    (here,) = parts.finder.find([Term(text=query)])
    assert here.vector is not None
    vector = here.vector
    there = parts.finder.of_other(parts.own, other, query)
    on_the_right = parts.own.read(lambda c: in_other(c, other, there, modality))
    return parts.reading.read(
        lambda c: compared(c, query, modality, in_active(c, vector, modality), on_the_right)
    )
