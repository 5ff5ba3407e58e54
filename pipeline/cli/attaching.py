"""What ``pipeline attach`` does, once its arguments are read."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from pipeline.cli.attached_shown import show_location_preview, show_preview
from pipeline.cli.following import follow, print_followed
from pipeline.cli.output import EX_TEMPFAIL, note, print_json
from pipeline.cli.removing import brake_of
from pipeline.cli.sql_words import tell_warnings, told_as_options

if TYPE_CHECKING:
    from pipeline.postgres.connections import Connection
    from pipeline.postgres.database import Database
    from pipeline.settings import Settings
    from pipeline.sources.attachments import Attachment


@dataclass(frozen=True, slots=True)
class Then:
    """What is to follow.

    Attributes:
        sync: whether to bring what is there already.
        released: whether that may remove more than a tenth of a source.
        as_json: whether to print JSON.
    """

    sync: bool
    released: bool
    as_json: bool


def attach_table(attachment: "Attachment", then: Then, *, dry_run: bool) -> None:
    """A table or view."""
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import ATTACH
    from pipeline.settings import Settings
    from pipeline.sources.attached_preview import preview
    from pipeline.sources.attachments import attach

    settings = Settings.load()
    database = Database.of(settings)
    with database.open(needs=ATTACH) as connection:
        with _of_the_login(database) as own, told_as_options():
            if dry_run:
                seen = preview(own, attachment, schema=database.schema)
                show_preview(seen, as_json=then.as_json)
                if seen.problems:  # which the connection told as warnings
                    raise typer.Exit(1)
                return
            name = attach(own, attachment, schema=database.schema)
        note(f"attached: {attachment.relation} as {name}")
        _bring(connection, settings, name, then)


def attach_location(
    url: str,
    name: str | None,
    every_seconds: float | None,
    exclude: tuple[str, ...],
    then: Then,
    *,
    dry_run: bool,
) -> None:
    """A folder, or a prefix of a bucket."""
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import ATTACH
    from pipeline.references import redact
    from pipeline.settings import Settings
    from pipeline.sources import locations

    settings = Settings.load()
    with Database.of(settings).open(needs=ATTACH) as connection:
        location = locations.Location(url, name, every_seconds, exclude=exclude)
        if dry_run:
            seen = locations.preview_location(connection, location, settings)
            show_location_preview(seen, as_json=then.as_json)
            if not seen.is_complete:
                raise typer.Exit(EX_TEMPFAIL)
            return
        named = locations.attach_location(connection, location, settings)
        note(f"attached: {redact(url)} as {named}")
        _bring(connection, settings, named, then)


def _bring(connection: "Connection", settings: "Settings", name: str, then: Then) -> None:
    """What is there already."""
    from pipeline.sources.attached import attached_sources

    if not then.sync:
        if then.as_json:
            print_json({"name": name})
        note(f"next: pipeline sync {name}")
        return
    (source,) = attached_sources(connection, name)
    done = follow(connection, settings, source, brake_of(settings, released=then.released))
    if then.as_json:
        print_json(done.as_dict())
    else:
        print_followed([done])
    if done.codes:
        raise typer.Exit(min(done.codes))
    note("next: pipeline ingest")


def _of_the_login(database: "Database") -> "Connection":
    """In which names of tables and functions are what they are for the login elsewhere."""
    from pipeline.postgres.connections import connect

    connection = connect(database.url, schema=None, role="pipeline attach", keeps_path=True)
    tell_warnings(connection)
    return connection
