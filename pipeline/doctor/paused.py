"""Spaces that workers leave alone, because somebody said so."""

from collections.abc import Iterator

from pipeline.doctor.check import Check
from pipeline.postgres.connections import Connection
from pipeline.queue.pauses import pauses


def paused(connection: Connection) -> Iterator[Check]:
    """No finding by itself: that rows wait for it is one, of the coverage."""
    for pause in pauses(connection).values():
        yield Check("paused", True, str(pause), pause.end)
