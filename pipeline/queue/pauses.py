"""Spaces that workers leave alone for a while; ``sql/schema/paused_jobs.sql`` holds their jobs."""

import logging
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row

from pipeline.postgres.connections import Connection, fetch_one
from pipeline.queue.news import wait_for_jobs

logger = logging.getLogger(__name__)

# How often whoever waits for news looks whether it is to stop.
LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Pause:
    """Since when, by which login and why; ``why`` may be None."""

    space: str
    since: datetime
    by: str
    why: str | None

    def __str__(self) -> str:
        """A sentence's part: ``the space 'new' is paused since ... by ana: disk full``."""
        why = f": {self.why}" if self.why else ""
        return f"the space {self.space!r} is {self.short}{why}"

    @property
    def short(self) -> str:
        """Without the reason."""
        return f"paused since {self.since:%Y-%m-%d %H:%M %Z} by {self.by}"

    @property
    def end(self) -> str:
        """The command that ends it."""
        return f"pipeline space resume {self.space}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON, beside the space's name."""
        return {"since": self.since, "by": self.by, "why": self.why}


_PAUSES = """
SELECT name AS space, paused_at AS since, paused_by AS by, paused_why AS why
FROM embedding_spaces
WHERE paused_at IS NOT NULL AND (%(space)s::integer IS NULL OR id = %(space)s) ORDER BY id
"""


def _pauses(connection: Connection, space_id: int | None) -> list[Pause]:
    with connection.cursor(row_factory=class_row(Pause)) as cursor:
        return cursor.execute(_PAUSES, {"space": space_id}).fetchall()


def pauses(connection: Connection) -> dict[str, Pause]:
    """By the space's name; spaces that are not paused are not in it."""
    return {pause.space: pause for pause in _pauses(connection, None)}


def find_pause(connection: Connection, space_id: int) -> Pause | None:
    """The space's, if it is paused."""
    return next(iter(_pauses(connection, space_id)), None)


def pause(connection: Connection, space: str, why: str | None = None) -> Pause:
    """From now on nobody begins a job of the space; a pause that is there already stays, with
    the new reason, if one is given."""
    connection.execute("SELECT pause_space(%s::text, %s::text)", (space, why))
    return pauses(connection)[space]


def resume(connection: Connection, space: str) -> bool:
    """End a pause and wake whoever waits; whether there was one."""
    (was_paused,) = fetch_one(connection.execute("SELECT resume_space(%s::text)", (space,)))
    return bool(was_paused)


def wait_until_resumed(
    connection: Connection,
    space_id: int,
    poll_seconds: float,
    stopped: threading.Event | None = None,
) -> None:
    """Return once the space is not paused, or ``stopped``: woken by a notification, and looking
    every ``poll_seconds`` whether or not there was one."""
    said = False
    while (pause := find_pause(connection, space_id)) is not None:
        if not said:
            logger.warning("%s; waiting for `%s`", pause, pause.end)
            said = True
        deadline = time.monotonic() + poll_seconds
        while time.monotonic() < deadline:
            if stopped is not None and stopped.is_set():
                return
            if wait_for_jobs(connection, min(LOOK_SECONDS, poll_seconds)):
                break
