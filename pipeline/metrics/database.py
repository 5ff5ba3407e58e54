"""What the database says when it is asked: jobs, items, spaces."""

import contextlib
import logging
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

import psycopg
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from pipeline.postgres.connections import Connection
from pipeline.postgres.database import Database
from pipeline.queue import status

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Of one statement: Prometheus gives up after ten.
SECONDS = 5.0
MOST_SPACES = 100


class Read(Protocol):
    """``work(connection)`` in a transaction that only reads, and not for long."""

    def __call__(self, work: Callable[[Connection], T], /) -> T: ...


def reading(database: Database) -> Read:
    """Each time on a connection of its own, which nobody holds while Prometheus is away."""

    def read(work: Callable[[Connection], T], /) -> T:
        with (
            contextlib.closing(database.open("pipeline metrics")) as connection,
            connection.transaction(),
        ):
            connection.execute(
                "SELECT set_config('transaction_read_only', 'on', true), "
                "set_config('statement_timeout', %s, true)",
                (f"{SECONDS * 1000:.0f}",),
            )
            return work(connection)

    return read


class OfDatabase(Collector):
    """Its state.

    Args:
        space: of this space alone, and without whether the database answers; empty: of all.
    """

    def __init__(self, read: Read, space: str = "") -> None:
        self._read = read
        self._space = space

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Nothing, so that nobody is asked when it is registered."""
        return []

    def collect(self) -> Iterable[GaugeMetricFamily]:
        up = GaugeMetricFamily("pipeline_database_up", "Whether the database answers: 1 or 0.")
        found: tuple[list[status.Work], list[_Space]] = ([], [])
        try:
            found = self._read(lambda connection: (status.work(connection), _spaces(connection)))
            up.add_metric((), 1)
        except psycopg.errors.InsufficientPrivilege as exc:
            logger.info("the metrics lack what this login may not see: %s", exc)
            up.add_metric((), 1)
        except Exception:
            logger.warning("the database does not say how it is", exc_info=True)
            up.add_metric((), 0)
        work, spaces = found
        if not self._space:
            yield up
        yield from _of_work([one for one in work if self._space in ("", one.space)])
        yield from _of_spaces([one for one in spaces if self._space in ("", one[0])])


_Space = tuple[str, str, str, bool, bool]


def _spaces(connection: Connection) -> list[_Space]:
    return connection.execute(
        "SELECT name, state, model, is_served(id), paused_at IS NOT NULL "
        "FROM embedding_spaces ORDER BY id DESC LIMIT %s",
        (MOST_SPACES,),
    ).fetchall()


def _of_spaces(spaces: Iterable[_Space]) -> Iterable[GaugeMetricFamily]:
    info = GaugeMetricFamily(
        "pipeline_space_info", "Spaces; always 1.", labels=("space", "state", "model")
    )
    served = GaugeMetricFamily(
        "pipeline_space_served", "Whether somebody serves a space: 1 or 0.", labels=("space",)
    )
    paused = GaugeMetricFamily(
        "pipeline_space_paused", "Whether a space is paused: 1 or 0.", labels=("space",)
    )
    for name, state, model, is_served, is_paused in spaces:
        info.add_metric((name, state, model), 1)
        served.add_metric((name,), int(is_served))
        paused.add_metric((name,), int(is_paused))
    return info, served, paused


def _of_work(found: Iterable[status.Work]) -> Iterable[GaugeMetricFamily]:
    of = ("space", "modality")
    items = GaugeMetricFamily("pipeline_items", "Items stored.", labels=of)
    jobs = GaugeMetricFamily("pipeline_jobs", "Jobs by state.", labels=(*of, "state"))
    oldest = GaugeMetricFamily(
        "pipeline_oldest_pending_seconds",
        "How long ago the source item changed whose job waits longest.",
        labels=of,
    )
    for one in found:
        place = (one.space, one.modality)
        items.add_metric(place, one.items)
        for state, count in (
            ("pending", one.pending), ("running", one.running), ("failed", one.failed),
        ):  # fmt: skip
            jobs.add_metric((*place, state), count)
        age = one.oldest_pending.total_seconds() if one.oldest_pending else 0.0
        oldest.add_metric(place, age)
    return items, jobs, oldest
