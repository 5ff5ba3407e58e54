"""The page of two spaces side by side: figures of the gate, and what the same queries find."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline import modalities
from pipeline.web.comparing import MOST_QUERIES, Compared, beside_active, compare, queries_of
from pipeline.web.faults import PageError, as_page_error
from pipeline.web.parts import Parts
from pipeline.web.rendering import page
from pipeline.web.typed import text_of


def routes(parts: Parts) -> list[Route]:
    """``/spaces/NAME/compare``."""

    def show(request: Request) -> Response:
        asked = request.query_params
        typed = text_of(asked.get("q", ""))
        beside = parts.reading.read(lambda c: beside_active(c, request.path_params["name"]))
        modality = asked.get("modality") or beside.usual
        error: PageError | None = None
        found: list[Compared] = []
        try:
            found = [compare(parts, beside, modality, query) for query in queries_of(typed)]
        except Exception as exc:
            error = as_page_error(exc)
        return page(
            request,
            "comparison.html",
            status=error.status if error else 200,
            active=beside.active,
            other=beside.other,
            figures=beside.figures,
            modalities=beside.modalities,
            modality=modality,
            typed=typed,
            most=MOST_QUERIES,
            found=found,
            error=error,
            may_ask=parts.own is not None and any(map(modalities.is_typed, beside.other.embeds)),
        )

    return [Route("/spaces/{name}/compare", show)]
