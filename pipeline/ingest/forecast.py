"""What a run of ingestion would do: rows by modality, how long it takes, what a server would count.

Nothing is loaded, claimed or asked of anybody: what is not known from the database is said to be
not known, and not guessed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from pipeline import embedders, modalities
from pipeline.postgres.connections import Connection, fetch_one
from pipeline.queue.pauses import Pause, find_pause
from pipeline.spaces import Space

# The rate is that of the newest items, of so many at most, as far back as the writing went on
# without a pause of so many seconds.
_NEWEST = 5_000
_PAUSE = 60.0
_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Expected:
    """Of one modality of a space.

    Attributes:
        due: rows that may be claimed now.
        later: rows that wait for another attempt.
        per_minute: rows a minute when the last ones were embedded; None: none were, or too few.
    """

    modality: str
    due: int
    later: int
    per_minute: float | None

    @property
    def minutes(self) -> float | None:
        """Until those due are done, one worker as the last ones had; None: nobody knows."""
        if not self.due:
            return 0.0
        return self.due / self.per_minute if self.per_minute else None


@dataclass(frozen=True, slots=True)
class Forecast:
    """Of a space.

    Attributes:
        is_remote: whether a server counts what it is asked.
        tokens: about how many the texts due are, where it does; None: it does not.
        uncounted: rows due whose tokens nobody knows before the server counts them.
        pause: of the space, whose rows wait meanwhile.
    """

    space: str
    expected: tuple[Expected, ...]
    is_remote: bool = False
    tokens: int | None = None
    uncounted: int = 0
    pause: Pause | None = None

    @property
    def due(self) -> int:
        return sum(one.due for one in self.expected)

    @property
    def minutes(self) -> float | None:
        """Of all modalities, one after the other; None: of one of them nobody knows."""
        every = [one.minutes for one in self.expected]
        return None if None in every else sum(minutes for minutes in every if minutes is not None)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "space": self.space,
            "due": self.due,
            "minutes": _rounded(self.minutes),
            "modalities": [
                {
                    "modality": one.modality,
                    "due": one.due,
                    "later": one.later,
                    "rows_per_minute": _rounded(one.per_minute),
                    "minutes": _rounded(one.minutes),
                }
                for one in self.expected
            ],
            "remote": self.is_remote,
            "tokens": self.tokens,
            "uncounted": self.uncounted,
            "paused": self.pause and self.pause.as_dict(),
        }


def forecast(connection: Connection, space: Space) -> Forecast:
    """What a run in the space would meet now."""
    rows = connection.execute(
        """
        SELECT s.modality, count(*) FILTER (WHERE j.run_after <= now()),
            count(*) FILTER (WHERE j.run_after > now())
        FROM ingest_jobs AS j JOIN source_items AS s ON s.id = j.source_id
        WHERE j.space_id = %s AND j.state = 'pending' GROUP BY s.modality
        """,
        (space.id,),
    ).fetchall()
    counts = {modality: (due, later) for modality, due, later in rows}
    expected = tuple(
        Expected(modality, *counts[modality], _per_minute(connection, space, modality))
        for modality in modalities.ordered(counts)
    )
    estimate = getattr(embedders.family_of(space.description), "estimate_tokens", None)
    tokens, uncounted = None, 0
    if estimate is not None:
        tokens, counted = _tokens(connection, space, estimate)
        uncounted = sum(one.due for one in expected) - counted
    return Forecast(
        space.name,
        expected,
        estimate is not None,
        tokens,
        uncounted,
        find_pause(connection, space.id),
    )


def _per_minute(connection: Connection, space: Space, modality: str) -> float | None:
    """Rows, of which each may have several items, by the times at which they were written."""
    if modality not in space.modalities:
        return None
    rows, seconds = fetch_one(
        connection.execute(
            sql.SQL(
                """
                WITH newest AS (
                    SELECT source_id, embedded_at FROM {} AS i ORDER BY id DESC LIMIT %(newest)s
                ), stretches AS (
                    SELECT source_id, embedded_at, count(*) FILTER (WHERE later - embedded_at
                        > make_interval(secs => %(pause)s)) OVER (ORDER BY embedded_at DESC) AS gaps
                    FROM (SELECT *, lag(embedded_at) OVER (ORDER BY embedded_at DESC) AS later
                          FROM newest) AS n
                ), last AS (
                    SELECT source_id, embedded_at, min(embedded_at) OVER () AS began
                    FROM stretches WHERE gaps = 0
                )
                -- Of the first transaction nobody knows when it began.
                SELECT count(DISTINCT source_id) FILTER (WHERE embedded_at > began),
                    extract(epoch FROM max(embedded_at) - min(embedded_at))::float8
                FROM last
                """
            ).format(space.rows(modality)),
            {"newest": _NEWEST, "pause": _PAUSE},
        )
    )
    return 60 * rows / seconds if rows and seconds else None


def _tokens(
    connection: Connection, space: Space, estimate: Callable[[str], int]
) -> tuple[int, int]:
    """About how many the rows due have that are their own content, and how many these are."""
    tokens = counted = 0
    last = -(2**63)
    while page := connection.execute(
        """
        SELECT s.id, s.content_ref FROM ingest_jobs AS j
        JOIN source_items AS s ON s.id = j.source_id
        JOIN known_modalities AS k ON k.name = s.modality AND k.inline
        WHERE j.space_id = %s AND j.state = 'pending' AND j.run_after <= now() AND s.id > %s
        ORDER BY s.id LIMIT %s
        """,
        (space.id, last, _PAGE),
    ).fetchall():
        tokens += sum(estimate(text) for _, text in page)
        counted += len(page)
        (last, _) = page[-1]
    return tokens, counted


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 2)
