"""The page of near-duplicates: groups of items of one modality, side by side."""

import math

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.postgres.connections import Connection
from pipeline.web import catalogue
from pipeline.web.catalogue import Chip
from pipeline.web.duplicates import Groups, groups
from pipeline.web.faults import PageError
from pipeline.web.item import DUPLICATE
from pipeline.web.parts import Parts
from pipeline.web.rendering import page
from pipeline.web.typed import item_number


def routes(parts: Parts) -> list[Route]:
    """``/review/duplicates``."""

    def show(request: Request) -> Response:
        asked = request.query_params
        least = _least(asked.get("least", ""))
        before = item_number(asked.get("before") or str(2**63 - 1))

        def look(connection: Connection) -> tuple[list[Chip], str, Groups | None]:
            chips = catalogue.chips(connection)
            chip = catalogue.chosen(chips, asked.get("modality", ""))
            if chip is None or not chip.items:
                return chips, "", None
            return chips, chip.modality, groups(connection, chip.modality, least, before)

        chips, modality, found = parts.reading.read(look)
        return page(
            request,
            "duplicates.html",
            chips=chips,
            modality=modality,
            least=least,
            found=found,
        )

    return [Route("/review/duplicates", show)]


def _least(text: str) -> float:
    try:
        least = float(text or DUPLICATE)
    except ValueError:
        least = math.nan
    if not 0 <= least <= 1:
        raise PageError(400, f"{text[:20]!r} is no similarity.", "Give one from 0 to 1.")
    return least
