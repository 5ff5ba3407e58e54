"""``pipeline add``: files, folders, lines and tables become source items."""

import json
from typing import Annotated

import typer

from pipeline.cli.output import note, print_json


def add(
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Pictures, folders, globs, .txt (by line), .jsonl, .csv, .parquet."),
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option("--text", help="A text to add; may be repeated.")
    ] = None,
    source: Annotated[
        str, typer.Option(help="Name of where the rows come from; keys are unique within it.")
    ] = "files",
    key_column: Annotated[str | None, typer.Option(help="Column with the row's key.")] = None,
    text_column: Annotated[str | None, typer.Option(help="Column with the text.")] = None,
    image_column: Annotated[
        str | None, typer.Option(help="Column with the picture's path or URI.")
    ] = None,
    metadata_columns: Annotated[
        str | None, typer.Option(help="Columns to keep as metadata, comma between; default: all.")
    ] = None,
    metadata: Annotated[
        str, typer.Option(help="A JSON object that every row gets as metadata.")
    ] = "{}",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Add pictures and texts to the source table; adding the same again changes nothing.

    Example: pipeline add photos/ captions.txt --text "a red bicycle"
    """
    from pipeline import sources
    from pipeline.database import open_database
    from pipeline.errors import ConfigurationError
    from pipeline.settings import Settings

    if not paths and not text:
        raise typer.BadParameter("name files or folders, or give a --text", param_hint="PATHS")
    try:
        common = json.loads(metadata)
    except ValueError as exc:
        raise ConfigurationError(f"--metadata is no JSON: {exc}") from exc
    if not isinstance(common, dict):
        raise ConfigurationError('--metadata is a JSON object, such as {"set": "holidays"}')
    columns = sources.Columns(
        key_column,
        text_column,
        image_column,
        None if metadata_columns is None else tuple(metadata_columns.split(",")),
    )
    report = sources.AddReport()
    settings = Settings.load()
    with open_database(settings) as connection:
        rows = [sources.text_row(t, source) for t in text or []]
        sources.add(connection, rows, report)
        files = sources.expand(paths or [], report)
        sources.add(
            connection,
            (r for f in files for r in sources.rows_of(f, source, columns, common, report)),
            report,
        )
        allowed = sources.register_roots(connection, dict.fromkeys(report.roots))
    for folder in allowed:
        note(f"allowed from now on for file references: {folder}")
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
