"""``pipeline add``: files, folders, lines and tables become source items."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.output import note, print_json
from pipeline.errors import ConfigurationError

if TYPE_CHECKING:
    from pipeline.settings import Settings


def add(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            help="Pictures, folders, globs, .txt (by line), .jsonl, .csv, .parquet; or pictures as "
            "http(s)://, s3://, gs:// or az://."
        ),
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option("--text", help="A text to add; may be repeated.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            help="Where the rows come from; a table's keys are unique in it. "
            "Left out: files, where they are unique in their table.",
            show_default=False,
        ),
    ] = None,
    key_column: Annotated[str | None, typer.Option(help="Column with the row's key.")] = None,
    text_column: Annotated[str | None, typer.Option(help="Column with the text.")] = None,
    image_column: Annotated[
        str | None,
        typer.Option(help="Column with the picture's URI, or its path from the table's folder."),
    ] = None,
    metadata_columns: Annotated[
        str | None, typer.Option(help="Columns to keep as metadata, comma between; default: all.")
    ] = None,
    metadata: Annotated[
        str,
        typer.Option(help="A JSON object that every row gets as metadata.", show_default=False),
    ] = "{}",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Add pictures and texts to the source table; adding the same again changes nothing.

    Example: pipeline add photos/ captions.txt --text "a red bicycle"
    """
    from pipeline.demo.notice import warn_of_demo_model
    from pipeline.postgres.connections import open_database
    from pipeline.settings import Settings
    from pipeline.sources import source_items
    from pipeline.sources.records import Columns

    if not paths and not text:
        raise typer.BadParameter("name files or folders, or give a --text", param_hint="PATHS")
    if any(not t.strip() for t in text or []):
        raise typer.BadParameter("the text is empty", param_hint="--text")
    if source is not None and not source.strip():
        raise typer.BadParameter("the name is empty", param_hint="--source")
    common = _metadata(metadata)
    columns = Columns(
        key_column,
        text_column,
        image_column,
        None if metadata_columns is None else tuple(metadata_columns.split(",")),
    )
    home = source or source_items.SOURCE
    elsewhere = [path for path in paths or [] if source_items.is_reference(path)]
    report = source_items.AddReport()
    settings = Settings.load()
    with open_database(settings) as connection:
        source_items.add(
            connection, [source_items.text_row(t, home, common) for t in text or []], report
        )
        source_items.add(
            connection, source_items.reference_rows(elsewhere, home, common, report), report
        )
        files = source_items.expand([path for path in paths or [] if path not in elsewhere], report)
        source_items.add(
            connection,
            (r for f in files for r in source_items.rows_of(f, source, columns, common, report)),
            report,
        )
        allowed = source_items.register_roots(connection, dict.fromkeys(report.roots))
        warn_of_demo_model(connection, note)
    for folder in allowed:
        note(f"allowed from now on for file references: {folder}")
    _note_closed_buckets(elsewhere, settings)
    if report.unread:
        shown = " ".join(map(str, report.unread[:3])) + " ..." * (len(report.unread) > 3)
        note(f"tables and texts in a folder are not read; to add theirs: pipeline add {shown}")
    for error in report.errors:
        note(f"pipeline: {error}")
    if as_json:
        print_json(
            {
                "added": report.added,
                "changed": report.changed,
                "unchanged": report.unchanged,
                "skipped_files": report.skipped,
                "errors": report.errors,
            }
        )
    else:
        skipped = f", {report.skipped} other files skipped" if report.skipped else ""
        print(
            f"{report.added} added, {report.changed} changed, {report.unchanged} unchanged{skipped}"
        )
        if report.added or report.changed:
            note("next: pipeline ingest")
    if report.errors:
        raise typer.Exit(1)


def _metadata(given: str) -> dict[str, Any]:
    try:
        common = json.loads(given)
    except ValueError as exc:
        raise ConfigurationError(f"--metadata is no JSON: {exc}") from exc
    if not isinstance(common, dict):
        raise ConfigurationError('--metadata is a JSON object, such as {"set": "holidays"}')
    return common


def _note_closed_buckets(references: list[str], settings: "Settings") -> None:
    stores = [reference for reference in references if not reference.lower().startswith("http")]
    if not stores:
        return
    from pipeline.loaders.objects import closed_buckets

    closed = closed_buckets(stores, settings)
    if closed:
        note(f"not open to references: {', '.join(closed)}; add to PIPELINE_BUCKETS, then ingest")
