"""``pipeline sync --events``: events of object stores, from a file or a pipe."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from pipeline.cli.output import note, print_json
from pipeline.cli.removing import as_dicts, tell_refused

if TYPE_CHECKING:
    from pipeline.settings import Settings
    from pipeline.sources.locations.by_events import EventsReport

Events = Annotated[
    str | None,
    typer.Option(
        "--events",
        help="A file of events of S3, MinIO, GCS or Azure, one JSON message a line; - is stdin.",
        show_default=False,
    ),
]


def sync_events(settings: "Settings", name: str | None, events: str, *, as_json: bool) -> None:
    """Look at each object that an event names; exit code 1 where something was left undone."""
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import FOLLOW
    from pipeline.sources.locations.by_events import sync_by_events

    with _opened(events) as lines, Database.of(settings).open(needs=FOLLOW) as connection:
        report = sync_by_events(connection, lines, settings, name)
    _tell(report, as_json=as_json)
    if not report.is_well:
        raise typer.Exit(1)


@contextmanager
def _opened(events: str) -> Iterator[TextIO]:
    if events == "-":
        yield sys.stdin
    else:
        with Path(events).open(encoding="utf-8", errors="replace") as file:
            yield file


def _tell(report: "EventsReport", *, as_json: bool) -> None:
    for said in report.said:
        note(f"{said}; skipped")
    if report.unknown > len(report.said):
        note(f"and {report.unknown - len(report.said)} more messages were skipped")
    if report.elsewhere:
        note(f"{report.elsewhere} objects lie in no attached location; nothing was done")
    for location in report.synced.values():
        for problem in location.problems:
            note(f"pipeline: {problem}")
        tell_refused(location.refused)
    if as_json:
        print_json(
            {
                "messages": report.messages,
                "unknown": report.unknown,
                "elsewhere": report.elsewhere,
                "synced": {
                    name: {
                        "looked_at": one.listed,
                        "added": one.added,
                        "changed": one.changed,
                        "removed": one.removed,
                        "refused": as_dicts(one.refused),
                        "errors": one.problems,
                    }
                    for name, one in report.synced.items()
                },
            }
        )
        return
    for name, one in report.synced.items():
        print(f"{name}: {one.added} added, {one.changed} changed, {one.removed} removed")
    if any(one.added or one.changed for one in report.synced.values()):
        note("next: pipeline ingest")
