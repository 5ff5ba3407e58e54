"""``pipeline sync``: mend what the triggers did not see, and follow what is attached."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.durations import seconds_of
from pipeline.cli.events import Events, sync_events
from pipeline.cli.following import Followed, follow, look, print_followed
from pipeline.cli.output import exit_code, note, print_json, progress_bar, wrong
from pipeline.cli.removing import AllowMassDelete, brake_of
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from pipeline.postgres.connections import Connection
    from pipeline.settings import Settings
    from pipeline.sources.removal import Brake
    from pipeline.sources.sync import SyncReport

EVERY = "15m"


def sync(
    name: Annotated[
        str | None,
        typer.Argument(
            help="What is attached by that name; left out: all of it, and the triggers'."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until stopped.")] = False,
    every: Annotated[
        str, typer.Option(help="With --watch, how often, such as 90s, 15m or 2h.")
    ] = EVERY,
    events: Events = None,
    allow_mass_delete: AllowMassDelete = False,
    full: Annotated[
        bool,
        typer.Option("--full", help="Compare all rows, also of tables not written since the last."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Have source items say what is attached, and find changes of them that no trigger saw.

    Triggers do not run for session_replication_role = replica, pg_restore --disable-triggers and
    logical replication; a view, a folder and a bucket have none. Exits 1 where one could not be
    synced, rows of it cannot be read, or too much of it is gone at once, 75 where it may succeed
    later.

    Example: pipeline sync products
    """
    from pipeline.settings import Settings

    pause = seconds_of("--every", every)
    settings = Settings.load()
    brake = brake_of(settings, released=allow_mass_delete)
    if events is not None:
        if watch or dry_run:
            wrong("--events", "it cannot be with --watch or --dry-run")
        sync_events(settings, name, events, as_json=as_json)
        return
    if watch:
        from pipeline.cli.watching import watch_sources

        if dry_run or as_json:
            wrong("--watch", "it cannot be with --dry-run or --json")
        watch_sources(settings, name, brake, pause)
        return
    if full and not dry_run:  # which compares all rows anyway
        _forget_seen(settings, name)
    codes: list[int] = []
    if name is None:
        report, done = sync_all(settings, brake, codes, mend=not dry_run)
    else:
        report, done = None, _sync_one(settings, name, brake, mend=not dry_run)
    _print(report, done, as_json=as_json)
    _tell(report, done, mended=not dry_run)
    codes += [code for one in done for code in one.codes]
    if report is not None and report.refused:
        codes.append(1)
    if codes:
        raise typer.Exit(min(codes))


def sync_all(
    settings: "Settings", brake: "Brake", codes: list[int], *, mend: bool = True
) -> "tuple[SyncReport, list[Followed]]":
    """What the triggers missed, then everything attached; one that fails keeps no other from it.

    Args:
        codes: gets the exit code of each that failed.
    """
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import EMBED
    from pipeline.sources.attached import attached_sources
    from pipeline.sources.source_items import estimated_count
    from pipeline.sources.sync import sync as run_sync

    with Database.of(settings).open(needs=EMBED) as connection:
        with progress_bar() as bar:
            task = bar.add_task("comparing", total=estimated_count(connection), rate="")
            report = run_sync(
                connection,
                mend=mend,
                brake=brake,
                progress=lambda r: bar.update(task, completed=r.checked, rate=str(r)),
            )
        done: list[Followed] = []
        for source in attached_sources(connection):
            if not source.is_ours:
                note(f"{source.name} is left to {source.owner}, who owns {source.of}")
                continue
            try:
                done += _follow(connection, settings, source.name, brake, mend=mend)
            except PipelineError as exc:
                if connection.closed:
                    raise
                note(f"pipeline: {source.name}: {exc}")
                codes.append(exit_code(exc))
    return report, done


def _sync_one(settings: "Settings", name: str, brake: "Brake", *, mend: bool) -> list[Followed]:
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import SYNC

    with Database.of(settings).open(needs=SYNC) as connection:
        return _follow(connection, settings, name, brake, mend=mend)


def _forget_seen(settings: "Settings", name: str | None) -> None:
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import SYNC
    from pipeline.sources.attached_sync import forget_seen

    with Database.of(settings).open(needs=SYNC) as connection:
        forget_seen(connection, name)


def _follow(
    connection: "Connection", settings: "Settings", name: str, brake: "Brake", *, mend: bool
) -> list[Followed]:
    from pipeline.sources.attached import attached_sources

    (source,) = attached_sources(connection, name)
    if mend:
        return [follow(connection, settings, source, brake)]
    looked = look(connection, source)
    return [] if looked is None else [looked]


def _print(report: "SyncReport | None", done: list[Followed], *, as_json: bool) -> None:
    if as_json:
        shown = asdict(report) if report is not None else {}
        print_json(shown | {"attached": [one.as_dict() for one in done]})
        return
    if report is not None:
        print(f"{report.checked} checked: {report}")
    print_followed(done)


def _tell(report: "SyncReport | None", done: list[Followed], *, mended: bool) -> None:
    found = [one for one in done if one.has_done]
    if not mended and (report or found):
        note("nothing was changed; without --dry-run it is mended")
    elif found or (report is not None and (report.new or report.changed)):
        note("next: pipeline ingest")
    if report is not None and report.refused:
        note(
            f"pipeline: the vectors of {report.refused} rows of source_items that are no longer "
            "there were kept, since they are so many: is source_items whole? If that is meant, "
            "--allow-mass-delete"
        )
