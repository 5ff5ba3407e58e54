"""``pipeline db dump`` and ``pipeline db restore``."""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.output import note, print_json, progress_bar, say
from pipeline.cli.signals import StoppedEarly, StopSignals
from pipeline.settings import Settings

logger = logging.getLogger(__name__)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def dump(
    file: Annotated[Path, typer.Argument(help="A new file; one that is there stays as it is.")],
    as_json: AsJson = False,
) -> None:
    """Write all of the database in use into a file, by pg_dump.

    Any pg_restore reads it. Example: pipeline db dump photos.dump
    """
    from pipeline.postgres.database import Database
    from pipeline.postgres.dumps.dumping import dump as dump_database
    from pipeline.postgres.dumps.files import refuse_existing

    refuse_existing(file)  # before a server is started
    with _stoppable(), _progress("dumping", "tables") as progress:
        done = dump_database(Database.of(Settings.load()).url, file, progress)
    if as_json:
        print_json(dataclasses.asdict(done))
        return
    versions = _versions(done.postgresql, done.extensions)
    say(f"dumped {done.database} ({done.tables} tables) into {file}, {_megabytes(done.size)}")
    say(f"of {versions}")


def restore(
    file: Annotated[Path, typer.Argument(help="What `pipeline db dump` wrote.")],
    as_json: AsJson = False,
) -> None:
    """Make all that a dump has in the database in use, which must be empty.

    All of it or nothing. The roles pipeline_*, the database's settings and statistics come with it,
    and the schema is brought to this release. Example: pipeline db restore photos.dump
    """
    from pipeline.postgres.database import Database
    from pipeline.postgres.dumps.restoring import restore as restore_database

    settings = Settings.load()
    with file.open("rb"):
        pass  # that it is there, before a server is started
    with _stoppable(), _progress("restoring", "objects") as progress:
        done = restore_database(
            Database.of(settings),
            file,
            progress,
            roles=settings.roles,
            old_pgvector=settings.old_pgvector,
        )
    if as_json:
        print_json(dataclasses.asdict(done))
        return
    say(f"restored {file} ({done.tables} tables) into {done.database}")
    say(f"with {_versions(done.postgresql, done.extensions)}")
    if done.owner is not None:
        say(f"all of it belongs to {done.owner} here, as its owners are not on this server")
    for name in done.left_out:
        say(f"without the extension {name}, which cannot be made here")
    for statement in done.statements:
        say(f"to be run if it is meant here: {statement}")


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """A signal ends it in good order: what was begun is taken back."""
    StopSignals()
    try:
        yield
    except StoppedEarly:
        raise typer.Abort from None


@contextlib.contextmanager
def _progress(what: str, counted: str) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on a terminal; else a line where a long step begins."""
    with progress_bar() as bar:
        task = bar.add_task(what, rate="", total=None)
        said: list[str] = []

        def show(name: str, done: int, total: int) -> None:
            shown = f"{what} {name}" if total else f"{what}: {name}"
            bar.update(task, description=shown, completed=done, total=total or None)
            logger.info("%s", shown)
            if bar.disable and not (said and total):
                said.append(name)
                note(f"{what} {total:,} {counted}" if total else shown)

        yield show


def _versions(postgresql: str, extensions: Mapping[str, str]) -> str:
    named = ", ".join(f"{name} {version}" for name, version in extensions.items())
    return f"PostgreSQL {postgresql}" + (f" with {named}" if named else "")


def _megabytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
