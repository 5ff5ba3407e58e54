"""The page of outliers: items of one modality that are like no others, beside what is nearest."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.postgres.connections import Connection
from pipeline.web import catalogue
from pipeline.web.catalogue import Chip
from pipeline.web.faults import PageError
from pipeline.web.outliers import NEIGHBOURS, Outliers, outliers
from pipeline.web.parts import Parts
from pipeline.web.rendering import page

_MOST_SAMPLES = 10_000


def routes(parts: Parts) -> list[Route]:
    """``/review/outliers``."""

    def show(request: Request) -> Response:
        asked = request.query_params
        sample = _sample(asked.get("sample", ""))

        def look(connection: Connection) -> tuple[list[Chip], str, Outliers | None]:
            chips = catalogue.chips(connection)
            chip = catalogue.chosen(chips, asked.get("modality", ""))
            if chip is None or not chip.items:
                return chips, "", None
            return chips, chip.modality, outliers(connection, chip.modality, chip.items, sample)

        chips, modality, found = parts.reading.read(look)
        return page(
            request,
            "outliers.html",
            chips=chips,
            modality=modality,
            sample=sample,
            following=sample % _MOST_SAMPLES + 1,
            neighbours=NEIGHBOURS,
            found=found,
        )

    return [Route("/review/outliers", show)]


def _sample(text: str) -> int:
    text = text or "1"
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= _MOST_SAMPLES):
        raise PageError(400, f"{text[:20]!r} is no sample.", f"Give one from 1 to {_MOST_SAMPLES}.")
    return int(text)
