"""``pipeline attach``: a table, view, folder or bucket that source items follow from now on."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.attached_shown import list_attached, show_preview
from pipeline.cli.contents import Given, columns_of, contents_of, metadata_of, with_content_options
from pipeline.cli.durations import seconds_of
from pipeline.cli.following import follow, print_followed
from pipeline.cli.output import note, print_json, wrong
from pipeline.cli.removing import AllowMassDelete, brake_of

if TYPE_CHECKING:
    from pipeline.postgres.connections import Connection
    from pipeline.postgres.database import Database
    from pipeline.settings import Settings
    from pipeline.sources.attachments import Attachment

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)

Target = Annotated[
    str | None,
    typer.Argument(
        help="A table or view, such as public.products; a folder; or s3://, gs:// or az://."
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--metadata",
        help="Columns to filter and show by, comma between; or SQL that gives jsonb.",
        show_default=False,
    ),
]
Key = Annotated[
    list[str] | None,
    typer.Option(help="Columns that tell rows apart; left out: the primary key's."),
]
Filter = Annotated[
    str | None, typer.Option(help="SQL condition on a row; others give nothing.", metavar="SQL")
]
Capture = Annotated[
    str, typer.Option(help="How changes are noticed: auto, statement, row, logical or scan.")
]
OnError = Annotated[
    str, typer.Option(help="What a fault of ours does to who writes: warn or raise.")
]
DependsOn = Annotated[
    list[str] | None,
    typer.Option(help="Another table that the SQL reads; may be repeated.", metavar="TABLE"),
]
Every = Annotated[
    str | None,
    typer.Option(help="Of a folder or bucket: how often sync --watch looks, such as 15m."),
]


@with_content_options
def attach(
    target: Target = None,
    *,
    name: Annotated[
        str | None, typer.Option(help="Name of the source; left out: the table's.")
    ] = None,
    metadata: Columns = None,
    key: Key = None,
    filter: Filter = None,
    capture: Capture = "auto",
    on_error: OnError = "warn",
    depends_on: DependsOn = None,
    every: Every = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be made, and how many rows.")
    ] = False,
    no_sync: Annotated[
        bool, typer.Option("--no-sync", help="Leave what is there already to pipeline sync.")
    ] = False,
    list_all: Annotated[
        bool, typer.Option("--list", help="Show what is attached, and how it stands.")
    ] = False,
    allow_mass_delete: AllowMassDelete = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    given: Given,
) -> None:
    """Have source items follow a table, view, folder or bucket from now on, and bring what is there.

    Example: pipeline attach public.products --image photo_url --text "title || ' ' || body"
    """
    from pipeline.settings import Settings

    contents = contents_of(given)
    of_a_table = {
        "--metadata": metadata, "--key": key, "--filter": filter, "--depends-on": depends_on,
        "--dry-run": dry_run, "--capture": capture != "auto", "--on-error": on_error != "warn",
    }  # fmt: skip
    used = [option for option, value in of_a_table.items() if value]
    if list_all:
        if target is not None:
            wrong("--list", "it takes no table")
        list_attached(Settings.load(), as_json=as_json)
        return
    if not target:
        wrong("TARGET", "name a table, a view, a folder or a bucket; or --list")
    if _is_location(target, has_contents=bool(contents)):
        if contents or used:
            first = next(iter([*used, *("--" + option for option in given if given[option])]))
            wrong(first, f"it is for tables, and {target} is none")
        _attach_location(
            Settings.load(), target, name, every, released=allow_mass_delete, sync=not no_sync,
            as_json=as_json,
        )  # fmt: skip
        return
    if every is not None:
        wrong("--every", "it is for folders and buckets; a table says itself what changes in it")
    if not contents:
        options = ", ".join(f"--{option} COLUMN" for option in given)
        wrong("TARGET", f"say what of {target} is embedded: {options}")
    attachment = _attachment(
        target, contents, name=name, metadata=metadata_of(metadata), key=columns_of("--key", key),
        filter=filter, capture=capture, on_error=on_error, depends_on=tuple(depends_on or ()),
    )  # fmt: skip
    _attach_table(Settings.load(), attachment, dry_run=dry_run, sync=not no_sync, as_json=as_json)


def _is_location(target: str, *, has_contents: bool) -> bool:
    """A table has no slash in its name, unless in quotes; a folder may be called as a table is."""
    if _SCHEME.match(target) or target.startswith(("~", ".", "/")):
        return True
    if '"' in target or has_contents:
        return False
    return "/" in target or Path(target).is_dir()


def _attachment(target: str, contents: dict[str, Any], **others: Any) -> "Attachment":
    from pipeline.sources.attachments import Attachment

    return Attachment(target, contents, **others)


def _attach_table(
    settings: "Settings", attachment: "Attachment", *, dry_run: bool, sync: bool, as_json: bool
) -> None:
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import ATTACH
    from pipeline.sources.attached_preview import preview
    from pipeline.sources.attachments import attach as attach_table

    database = Database.of(settings)
    with database.open(needs=ATTACH) as connection:
        with _of_the_login(database) as own:
            if dry_run:
                seen = preview(own, attachment, schema=database.schema)
                show_preview(seen, as_json=as_json)
                return
            name = attach_table(own, attachment, schema=database.schema)
        note(f"attached: {attachment.relation} as {name}")
        _bring(connection, settings, name, released=False, sync=sync, as_json=as_json)


def _attach_location(
    settings: "Settings",
    url: str,
    name: str | None,
    every: str | None,
    *,
    released: bool,
    sync: bool,
    as_json: bool,
) -> None:
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import ATTACH
    from pipeline.sources.locations import Location, attach_location

    location = Location(url, name, None if every is None else seconds_of("--every", every))
    with Database.of(settings).open(needs=ATTACH) as connection:
        named = attach_location(connection, location, settings)
        note(f"attached: {url} as {named}")
        _bring(connection, settings, named, released=released, sync=sync, as_json=as_json)


def _bring(
    connection: "Connection",
    settings: "Settings",
    name: str,
    *,
    released: bool,
    sync: bool,
    as_json: bool,
) -> None:
    """What is there already."""
    from pipeline.sources.attached import attached_sources

    if not sync:
        if as_json:
            print_json({"name": name})
        note(f"next: pipeline sync {name}")
        return
    (source,) = attached_sources(connection, name)
    done = follow(connection, settings, source, brake_of(settings, released=released))
    if as_json:
        print_json(done.as_dict())
    else:
        print_followed([done])
    if done.refused:
        raise typer.Exit(1)
    note("next: pipeline ingest")


def _of_the_login(database: "Database") -> "Connection":
    """In which names of tables and functions are what they are for the login elsewhere."""
    from pipeline.postgres.connections import connect

    connection = connect(database.url, schema=None, role="pipeline attach", keeps_path=True)
    connection.add_notice_handler(
        lambda notice: note(f"pipeline: {notice.message_primary}")
        if notice.severity_nonlocalized == "WARNING"
        else None
    )
    return connection
