"""What waits and what there is, for the pages of jobs and of spaces and for the API."""

from dataclasses import dataclass, replace

from pipeline.postgres.connections import Connection
from pipeline.postgres.rights import may
from pipeline.quality.history import history
from pipeline.queue import runs, status
from pipeline.queue.pauses import Pause, pauses
from pipeline.spaces import Space, list_spaces
from pipeline.spaces.status import SpaceStatus, space_status
from pipeline.web.parts import Parts

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
class Jobs:
    """The queue.

    Attributes:
        paused: by the space's name.
        unsupported: source items that no space in use can embed.
        runs: those that ended last, by whom as far as ``holders`` may be known; None: the login may
            not read them.
        holders: who holds jobs; None: the login may not read the queue here.
    """

    work: list[status.Work]
    paused: dict[str, Pause]
    unsupported: list[status.Unsupported]
    runs: list[runs.Run] | None
    holders: list[status.Holder] | None

    @property
    def at_work(self) -> list[str]:
        """The spaces that may be paused and are not."""
        names = dict.fromkeys(one.space for one in self.work if one.state != "retired")
        return [name for name in names if name not in self.paused]


def jobs(parts: Parts) -> Jobs:
    """What waits, who works on it, what was done."""
    found, paused, left, ended = parts.oversee(
        lambda connection: (
            status.work(connection),
            pauses(connection),
            status.unsupported(connection),
            runs.last(connection) if may(connection, "ingest_runs", "SELECT") else None,
        )
    )
    if parts.own is None:  # a worker's name is its machine's
        nameless = None if ended is None else [replace(run, worker=None) for run in ended]
        return Jobs(found, paused, left, nameless, None)
    holders = parts.own.read(status.holders)
    return Jobs(found, paused, left, ended, holders)


@dataclass(frozen=True, slots=True)
class Shown:
    """A space with what is known of it; ``next``: commands, each with what it does."""

    space: Space
    status: list[SpaceStatus]
    pause: Pause | None
    next: list[tuple[str, str]]
    measured: bool


def spaces(connection: Connection) -> list[Shown]:
    """Every space, newest first."""
    paused = pauses(connection)
    found = []
    for space in reversed(list_spaces(connection)):
        steps = [(step.format(space.name), what) for step, what in _NEXT.get(space.state, ())]
        pause = paused.get(space.name)
        if pause is not None:
            steps.insert(0, (pause.end, "let workers claim its rows again"))
        of_space = space_status(connection, space.name)
        found.append(Shown(space, of_space, pause, steps, bool(history(connection, space))))
    return found
