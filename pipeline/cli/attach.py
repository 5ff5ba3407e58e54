"""``pipeline attach``: a table, view, folder or bucket that source items follow from now on."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.attached_shown import list_attached
from pipeline.cli.attaching import Then, attach_location, attach_table
from pipeline.cli.contents import Given, columns_of, contents_of, metadata_of, with_content_options
from pipeline.cli.durations import seconds_of
from pipeline.cli.output import wrong
from pipeline.cli.removing import AllowMassDelete

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
    typer.Option("--key", help="Columns that tell rows apart; left out: the primary key's."),
]
Filter = Annotated[
    str | None,
    typer.Option("--filter", help="SQL condition on a row; others give nothing.", metavar="SQL"),
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

Exclude = Annotated[
    list[str] | None,
    typer.Option(
        help="Of a folder or bucket: leave out what this pattern names; may be repeated.",
        show_default=False,
    ),
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
    condition: Filter = None,
    capture: Capture = "auto",
    on_error: OnError = "warn",
    depends_on: DependsOn = None,
    every: Every = None,
    exclude: Exclude = None,
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
    """Have source items follow a table, view, folder or bucket, and bring what is there.

    Example: pipeline attach public.products --image photo_url --text "title || ' ' || body"
    """
    if list_all:
        list_attached(as_json=as_json)
        return
    if not target:
        wrong("TARGET", "name a table, a view, a folder or a bucket; or --list")
    of_a_table: dict[str, Any] = {
        "metadata": metadata_of(metadata), "key": columns_of("--key", key), "filter": condition,
        "capture": capture, "on_error": on_error, "depends_on": tuple(depends_on or ()),
    }  # fmt: skip
    then = Then(sync=not no_sync, released=allow_mass_delete, as_json=as_json)
    contents = contents_of(given)
    if _is_location(target, has_contents=bool(contents)):
        _refuse(target, given, of_a_table)
        seconds = None if every is None else seconds_of("--every", every)
        attach_location(target, name, seconds, tuple(exclude or ()), then, dry_run=dry_run)
        return
    if every is not None or exclude:
        option = "--every" if every is not None else "--exclude"
        wrong(option, f"it is for folders and buckets, and {target} is a table")
    if not contents:
        options = ", ".join(f"--{option} COLUMN" for option in given)
        wrong("TARGET", f"say what of {target} is embedded: {options}")
    from pipeline.sources.attachments import Attachment

    attachment = Attachment(target, contents, name, **of_a_table)
    attach_table(attachment, then, dry_run=dry_run)


def _is_location(target: str, *, has_contents: bool) -> bool:
    """A table has no slash in its name, unless in quotes; a folder may be called as a table is."""
    if _SCHEME.match(target) or target.startswith(("~", ".", "/")):
        return True
    if '"' in target or has_contents:
        return False
    return "/" in target or Path(target).is_dir()


def _refuse(target: str, given: Given, of_a_table: Mapping[str, Any]) -> None:
    """Options of tables, of which a folder or bucket has none."""
    usual = {"capture": "auto", "on_error": "warn"}
    used = [option for option, values in given.items() if values]
    used += [option for option, value in of_a_table.items() if value and value != usual.get(option)]
    if used:
        option = used[0].replace("_", "-")
        wrong(f"--{option}", f"it is for tables and views, and {target} is none")
