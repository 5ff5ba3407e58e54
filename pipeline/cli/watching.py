"""``pipeline sync --watch``: again and again, whatever is due, until a signal."""

import threading
import time
from typing import TYPE_CHECKING

from pipeline.cli.following import follow, print_followed
from pipeline.cli.output import EX_TEMPFAIL, exit_code, note, refusal
from pipeline.cli.signals import StoppedEarly, StopSignals
from pipeline.errors import PipelineError
from pipeline.waits import wait

if TYPE_CHECKING:
    from pipeline.settings import Settings
    from pipeline.sources.removal import Brake

_STOPPING = "stopping: after the sync at hand; a second signal ends at once"


class _Rounds:
    """Stops between two syncs."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()

    @property
    def are_over(self) -> bool:
        return self._stopped.is_set()

    def wait(self, seconds: float) -> None:
        wait(self._stopped, seconds)


def watch_sources(settings: "Settings", name: str | None, brake: "Brake", every: float) -> None:
    """Sync what is due, wait, and look again; a database that is away is waited for.

    Args:
        name: of one that is attached; None: all, and what the triggers missed.
        every: seconds; a folder or bucket may have its own.
    """
    rounds, mended = _Rounds(), float("-inf")
    try:
        StopSignals(rounds, saying=_STOPPING)
        while not rounds.are_over:
            pause = every
            try:
                if name is None and time.monotonic() - mended >= every:
                    _mend(settings, brake)
                    mended = time.monotonic()
                pause = _round(settings, name, brake, every, rounds)
            except Exception as exc:
                if exit_code(exc) != EX_TEMPFAIL:
                    raise
                note(f"pipeline: {refusal(exc) or exc}")
            rounds.wait(pause)
    except StoppedEarly:
        return


def _mend(settings: "Settings", brake: "Brake") -> None:
    """What the triggers of source_items missed."""
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import EMBED
    from pipeline.sources.sync import sync

    with Database.of(settings).open(needs=EMBED) as connection:
        report = sync(connection, brake=brake)
    if report:
        print(f"{report.checked} checked: {report}", flush=True)
    if report.refused:
        note(f"pipeline: the vectors of {report.refused} rows that are gone were kept; see "
             "pipeline sync")  # fmt: skip


def _round(
    settings: "Settings", name: str | None, brake: "Brake", every: float, rounds: _Rounds
) -> float:
    """Every source that is due; seconds until one may be."""
    from pipeline.postgres.database import Database
    from pipeline.postgres.locks import LockHeld
    from pipeline.postgres.rights import SYNC
    from pipeline.sources.attached import attached_sources, due_sources, shortest_pause

    with Database.of(settings).open(needs=SYNC) as connection:
        if name is not None:
            attached_sources(connection, name)  # or there is nothing to wait for
        for due in due_sources(connection, every, name):
            if rounds.are_over:
                break
            try:
                (source,) = attached_sources(connection, due)
                # What a slot tells is told as a whole; the rest is for a sync by itself.
                whole = source.needs_sync or source.synced_at is None
                done = follow(connection, settings, source, brake, whole=whole, patience=0)
            except LockHeld:  # by another watcher, who does it
                continue
            except PipelineError as exc:
                if connection.closed:
                    raise
                note(f"pipeline: {due}: {exc}")
                continue
            if done.has_done:
                print_followed([done], flush=True)
        return min(every, shortest_pause(connection, name) or every)
