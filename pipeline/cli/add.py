"""``pipeline add``: files, folders, lines and tables become source items."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.output import note, print_json, wrong
from pipeline.cli.removing import AllowMassDelete, brake_of
from pipeline.cli.told_modality import ToldModality, told_modality

if TYPE_CHECKING:
    from pipeline.modalities import Modality
    from pipeline.settings import Settings
    from pipeline.sources.records import Columns
    from pipeline.sources.removal import Brake
    from pipeline.sources.source_items import AddReport

Paths = Annotated[
    list[str] | None,
    typer.Argument(
        help="Images, folders, globs, .txt (by line), .jsonl, .csv, .tsv, .parquet; or images as "
        "http(s)://, s3://, gs:// or az://."
    ),
]
Texts = Annotated[list[str] | None, typer.Option("--text", help="A text to add; may be repeated.")]
SourceName = Annotated[
    str | None,
    typer.Option(
        help="Where the rows come from; a table's keys are unique in it. "
        "Left out: files, where they are unique in their table.",
        show_default=False,
    ),
]
ImageColumn = Annotated[
    str | None,
    typer.Option(help="Column with the image's URI, or its path from the table's folder."),
]
MoreColumns = Annotated[
    list[str] | None,
    typer.Option("--column", help="MODALITY=COLUMN, for any modality; may be repeated."),
]
MetadataColumns = Annotated[
    str | None, typer.Option(help="Columns to keep as metadata, comma between; default: all.")
]
Metadata = Annotated[
    str, typer.Option(help="A JSON object that every row gets as metadata.", show_default=False)
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        help="Leave out of folders what this pattern names, as in a .gitignore; may be repeated.",
        show_default=False,
    ),
]
Sync = Annotated[
    bool,
    typer.Option(
        "--sync",
        help="Attach folders: their rows follow renamed, changed and deleted files at each sync.",
    ),
]
AsText = Annotated[
    bool,
    typer.Option("--as-text", help="Keep a CSV's values as text, also where all are numbers."),
]
MediaDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder that images are written to which a Parquet file holds itself.",
        show_default=False,
        file_okay=False,
    ),
]


def add(
    paths: Paths = None,
    text: Texts = None,
    modality: ToldModality = None,
    source: SourceName = None,
    key_column: Annotated[str | None, typer.Option(help="Column with the row's key.")] = None,
    text_column: Annotated[str | None, typer.Option(help="Column with the text.")] = None,
    image_column: ImageColumn = None,
    column: MoreColumns = None,
    metadata_columns: MetadataColumns = None,
    metadata: Metadata = "{}",
    exclude: Exclude = None,
    as_text: AsText = False,
    media_dir: MediaDir = None,
    sync: Sync = False,
    allow_mass_delete: AllowMassDelete = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Add images and texts to the source table; adding the same again changes nothing.

    Exits 1 where something was not added, or too much of a source is gone for --sync to remove it.

    Example: pipeline add photos/ captions.txt --text "a red bicycle"
    """
    from pipeline.modalities import IMAGE, TEXT
    from pipeline.references import expanded, local_path
    from pipeline.settings import Settings
    from pipeline.sources.records import Columns

    if not paths and not text:
        wrong("PATHS", "name files or folders, or give a --text")
    if sync and text:
        wrong("--sync", "texts are added without it")
    if any(not t.strip() for t in text or []):
        wrong("--text", "the text is empty")
    if source is not None and not source.strip():
        wrong("--source", "the name is empty")
    told = told_modality(modality, sync=sync)
    common = _metadata(metadata)
    content = {TEXT.name: text_column, IMAGE.name: image_column} | _more_columns(column or [])
    columns = Columns(
        key_column,
        {name: given for name, given in content.items() if given is not None},
        None if metadata_columns is None else tuple(metadata_columns.split(",")),
        as_text,
        None if media_dir is None else local_path(expanded(media_dir)),
    )
    _check_patterns(exclude or [])
    settings = Settings.load()
    if sync:
        brake = brake_of(settings, released=allow_mass_delete)
        _sync(settings, paths or [], source, common, exclude, brake, as_json=as_json)
        return
    report, allowed = _add(
        settings, paths or [], text or [], source, columns, common, exclude, told
    )
    _tell(report, allowed, as_json=as_json)
    if report.errors:
        raise typer.Exit(1)


def _sync(
    settings: "Settings",
    paths: list[str],
    source: str | None,
    common: dict[str, Any],
    exclude: list[str] | None,
    brake: "Brake",
    *,
    as_json: bool,
) -> None:
    from pipeline.cli.add_sync import sync_folders
    from pipeline.sources.folders import Given

    given = Given(source, common, tuple(exclude or ()))
    sync_folders(settings, paths, given, brake, as_json=as_json)


def _add(
    settings: "Settings",
    paths: list[str],
    texts: list[str],
    source: str | None,
    columns: "Columns",
    common: dict[str, Any],
    exclude: list[str] | None,
    told: "Modality | None",
) -> "tuple[AddReport, list[Path]]":
    """What was added, and the folders that file references may point into since."""
    from pipeline.demo.notice import warn_of_demo_model
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import ADD
    from pipeline.references import is_elsewhere
    from pipeline.sources.attached import check_free
    from pipeline.sources.files import expand, reference_rows, rows_of
    from pipeline.sources.locations import given_to_their_locations
    from pipeline.sources.media_roots import register_roots
    from pipeline.sources.source_items import SOURCE, AddReport, text_row
    from pipeline.sources.source_items import add as add_rows

    home, report = source or SOURCE, AddReport()
    elsewhere = [path for path in paths if is_elsewhere(path)]
    here = [path for path in paths if path not in elsewhere]
    files = expand(here, report, exclude or (), None if told is None else [told])
    with Database.of(settings).open(needs=ADD) as connection:
        check_free(connection, home)
        add_rows(connection, [text_row(text, home, common) for text in texts], report)
        references = reference_rows(elsewhere, home, common, report, told)
        add_rows(connection, given_to_their_locations(connection, references), report)
        rows = (
            row
            for file in files
            for row in rows_of(
                file, source, columns, common, report, max_bytes=settings.max_bytes, told=told
            )
        )
        add_rows(connection, given_to_their_locations(connection, rows), report)
        allowed = register_roots(connection, dict.fromkeys(report.roots))
        if report.added or report.changed:
            warn_of_demo_model(connection, note)
    _note_closed_buckets(elsewhere, settings)
    return report, allowed


def _tell(report: "AddReport", allowed: list[Path], *, as_json: bool) -> None:
    from pipeline.cli.add_sync import note_unread

    for folder in allowed:
        note(f"allowed from now on for file references: {folder}")
    note_unread(report.unread)
    for said in report.notes:
        note(said)
    for error in report.errors:
        note(f"pipeline: {error}")
    if as_json:
        print_json(
            {
                "added": report.added,
                "changed": report.changed,
                "unchanged": report.unchanged,
                "skipped_files": report.skipped,
                "notes": report.notes,
                "errors": report.errors,
            }
        )
        return
    skipped = f", {report.skipped} other files skipped" if report.skipped else ""
    print(f"{report.added} added, {report.changed} changed, {report.unchanged} unchanged{skipped}")
    if report.added or report.changed:
        note("next: pipeline ingest")


def _check_patterns(exclude: list[str]) -> None:
    from pipeline.errors import ConfigurationError
    from pipeline.sources.folder_files import patterns

    try:
        patterns(exclude)
    except ConfigurationError as exc:
        wrong("--exclude", str(exc))


def _metadata(given: str) -> dict[str, Any]:
    try:
        common = json.loads(given)
        json.dumps(common, allow_nan=False)
    except (ValueError, RecursionError) as exc:
        wrong("--metadata", f"this is no JSON: {exc}")
    if not isinstance(common, dict):
        wrong("--metadata", 'a JSON object is expected, such as {"set": "holidays"}')
    return common


def _more_columns(pairs: list[str]) -> dict[str, str | None]:
    """``MODALITY=COLUMN`` by modality."""
    from pipeline import modalities

    found: dict[str, str | None] = {}
    for pair in pairs:
        name, equals, column = pair.partition("=")
        if not (name and equals and column):
            wrong("--column", f"MODALITY=COLUMN is expected, not {pair!r}")
        if modalities.find(name) is None:
            known = ", ".join(modality.name for modality in modalities.registered())
            wrong("--column", f"{name!r} cannot be decoded here, only {known}")
        found[name] = column
    return found


def _note_closed_buckets(references: list[str], settings: "Settings") -> None:
    from pipeline.references import STORES, scheme_of

    stores = [reference for reference in references if scheme_of(reference) in STORES]
    if not stores:
        return
    from pipeline.loaders.options import LoadOptions
    from pipeline.loaders.places import closed_buckets

    closed = closed_buckets(stores, LoadOptions.of(settings))
    if closed:
        note(f"not open to references: {', '.join(closed)}; add to PIPELINE_BUCKETS, then ingest")
