"""The page of spaces: where each is in its life, what comes next, and how well it is searched."""

from collections import defaultdict
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.postgres.connections import Connection
from pipeline.quality.history import history
from pipeline.spaces import get_space
from pipeline.web.overview import spaces
from pipeline.web.parts import Parts
from pipeline.web.plot import DARK, LIGHT, over_time
from pipeline.web.rendering import page


def routes(parts: Parts) -> list[Route]:
    """``/spaces`` and ``/spaces/NAME/recall.svg``, with ``?paper=dark`` for dark pages."""

    def show(request: Request) -> Response:
        found = parts.oversee(spaces)
        has_active = any(one.space.state == "active" for one in found)
        return page(request, "spaces.html", spaces=found, has_active=has_active)

    def recall(request: Request) -> Response:
        name = request.path_params["name"]
        lines = parts.oversee(lambda connection: _recall(connection, name))
        paper = DARK if request.query_params.get("paper") == "dark" else LIGHT
        plot = over_time(lines, f"recall@10 of {name}", paper)
        return Response(plot, media_type="image/svg+xml")

    return [Route("/spaces", show), Route("/spaces/{name}/recall.svg", recall)]


def _recall(connection: Connection, name: str) -> dict[str, list[tuple[datetime, float]]]:
    lines: dict[str, list[tuple[datetime, float]]] = defaultdict(list)
    for one in history(connection, get_space(connection, name)):
        pair = f"{one.query_modality} \N{RIGHTWARDS ARROW} {one.item_modality}"
        lines[pair].append((one.measured_at, one.recall))
    return lines
