"""What ``pipeline add --sync`` does and says."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pipeline.cli.output import note, print_json, progress_bar
from pipeline.cli.removing import as_dicts, tell_refused

if TYPE_CHECKING:
    from pipeline.settings import Settings
    from pipeline.sources.folders import Given
    from pipeline.sources.locations import LocationReport
    from pipeline.sources.removal import Brake


def sync_folders(
    settings: "Settings", paths: list[str], given: "Given", brake: "Brake", *, as_json: bool
) -> None:
    """Attach these folders and sync them; exit code 1 where something was left undone."""
    from pipeline.demo.notice import warn_of_demo_model
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import FOLLOW
    from pipeline.references import expanded
    from pipeline.sources import folders

    found = [expanded(path) for path in paths]
    folders.check_folders(found)
    with Database.of(settings).open(needs=FOLLOW) as connection, progress_bar() as bar:
        task = bar.add_task("listing", total=None, rate="")
        report = folders.sync_folders(
            connection,
            found,
            given,
            settings,
            brake,
            lambda listed: bar.update(task, completed=listed),
        )
        if report.added or report.changed:
            warn_of_demo_model(connection, note)
    _tell(report, as_json=as_json)
    if not report.is_well:
        raise typer.Exit(1)


def _tell(report: "LocationReport", *, as_json: bool) -> None:
    note_unread(report.unread)
    for said in report.notes:
        note(said)
    for problem in report.problems:
        note(f"pipeline: {problem}")
    if not report.is_complete:
        note("pipeline: not all could be listed, so that nothing was moved or removed")
    tell_refused(report.refused)
    unchanged = report.listed - report.added - report.changed - report.moved
    if as_json:
        print_json(
            {
                "added": report.added,
                "changed": report.changed,
                "unchanged": unchanged,
                "moved": report.moved,
                "removed": report.removed,
                "refused": as_dicts(report.refused),
                "skipped_files": report.skipped,
                "notes": report.notes,
                "errors": report.problems,
            }
        )
        return
    skipped = f", {report.skipped} other files skipped" if report.skipped else ""
    print(
        f"{report.added} added, {report.changed} changed, {unchanged} unchanged, "
        f"{report.moved} moved, {report.removed} removed{skipped}"
    )
    if report.added or report.changed or report.moved:
        note("next: pipeline ingest")


def note_unread(files: Sequence[Path]) -> None:
    """Tell of tables and texts that stand in a folder."""
    if files:
        shown = " ".join(map(str, files[:3])) + " ..." * (len(files) > 3)
        note(f"tables and texts in a folder are not read; to add theirs: pipeline add {shown}")
