"""The page of spaces: where each is in its life, what comes next, and how well it is searched."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.postgres.connections import Connection
from pipeline.quality.history import history
from pipeline.queue.pauses import Pause, pauses
from pipeline.spaces import Space, get_space, list_spaces
from pipeline.spaces.status import SpaceStatus, space_status
from pipeline.web.parts import Parts
from pipeline.web.plot import over_time
from pipeline.web.rendering import page

# By the state of a space, what is done next: a command, and what it does.
_NEXT = {
    "building": (
        ("pipeline space build {}", "embed what waits and build its indexes"),
        ("pipeline space activate {}", "search in it from then on"),
        ("pipeline space drop {}", "remove it"),
    ),
    "active": (
        ("pipeline eval recall", "measure its recall"),
        ("pipeline space create NAME --model MODEL", "begin another beside it"),
    ),
    "retired": (
        ("pipeline space rollback", "search in the one that was active before"),
        ("pipeline space drop {}", "remove it"),
    ),
}


@dataclass(frozen=True, slots=True)
class _Shown:
    """A space with what is known of it; ``next``: commands, each with what it does."""

    space: Space
    status: list[SpaceStatus]
    pause: Pause | None
    next: list[tuple[str, str]]
    measured: bool


def routes(parts: Parts) -> list[Route]:
    """``/spaces`` and ``/spaces/NAME/recall.svg``."""

    def show(request: Request) -> Response:
        return page(request, "spaces.html", spaces=parts.reading.read(_spaces))

    def recall(request: Request) -> Response:
        name = request.path_params["name"]
        lines = parts.reading.read(lambda connection: _recall(connection, name))
        return Response(over_time(lines, f"recall@10 of {name}"), media_type="image/svg+xml")

    return [Route("/spaces", show), Route("/spaces/{name}/recall.svg", recall)]


def _spaces(connection: Connection) -> list[_Shown]:
    paused = pauses(connection)
    found = []
    for space in reversed(list_spaces(connection)):
        steps = [(step.format(space.name), what) for step, what in _NEXT.get(space.state, ())]
        pause = paused.get(space.name)
        if pause is not None:
            steps.insert(0, (pause.end, "let workers claim its rows again"))
        status = space_status(connection, space.name)
        found.append(_Shown(space, status, pause, steps, bool(history(connection, space))))
    return found


def _recall(connection: Connection, name: str) -> dict[str, list[tuple[datetime, float]]]:
    lines: dict[str, list[tuple[datetime, float]]] = defaultdict(list)
    for one in history(connection, get_space(connection, name)):
        pair = f"{one.query_modality} \N{RIGHTWARDS ARROW} {one.item_modality}"
        lines[pair].append((one.measured_at, one.recall))
    return lines
