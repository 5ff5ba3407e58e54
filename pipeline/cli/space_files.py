"""``pipeline space import`` and ``export``: vectors that exist already, in and out."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.output import print_json
from pipeline.errors import ConfigurationError
from pipeline.settings import Settings

# What needs the database driver and pyarrow is imported by the command that uses it.


def import_(
    name: Annotated[str, typer.Argument(help="The space the vectors are of.", show_default=False)],
    file: Annotated[
        Path | None, typer.Argument(help="A .parquet or .npy file.", show_default=False)
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option(help="With .npy: keys of source rows, one a line.", show_default=False),
    ] = None,
    table: Annotated[
        str | None, typer.Option(help="Instead of a file: a table or view.", show_default=False)
    ] = None,
    from_url: Annotated[
        str | None,
        typer.Option(help="The table's database, if another.", envvar="PIPELINE_IMPORT_URL"),
    ] = None,
    source: Annotated[str, typer.Option(help="Source of the rows.")] = "import",
    column: Annotated[
        list[str] | None,
        typer.Option(help="FIELD=COLUMN, where a name differs.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Import vectors with their source rows: normalised, checked, all or nothing.

    Fields are source_key, modality, content_ref, embedding and metadata. For .npy the source rows
    must be there already.

    Example: pipeline space import new vectors.parquet --column source_key=sku
    """
    from pipeline import spaces, transfer
    from pipeline.postgres.connections import connect
    from pipeline.postgres.database import Database

    settings = Settings.load()
    renamed = _columns(column or [])
    database = Database.of(settings)
    with database.open() as connection:
        space = spaces.get_space(connection, name)
        if (file is None) == (table is None):
            raise ConfigurationError("give a .parquet or .npy file, or --table NAME")
        if table is not None:
            with connect(from_url or database.url, role="pipeline import") as other:
                rows = transfer.from_table(other, table, renamed)
                report = transfer.import_items(connection, space, source, rows)
        elif file is not None and file.suffix.lower() == ".npy":
            if ids is None:
                raise ConfigurationError("a .npy file has no keys: give them with --ids keys.txt")
            with database.open("pipeline import") as other:
                rows = transfer.from_npy(file, ids, other, source)
                report = transfer.import_items(connection, space, source, rows)
        elif file is not None and file.suffix.lower() == ".parquet":
            transfer.check_claim(space, transfer.parquet_claim(file))
            rows = transfer.from_parquet(file, renamed)
            report = transfer.import_items(connection, space, source, rows)
        else:
            raise ConfigurationError(f"{file}: .parquet and .npy can be imported")
    if as_json:
        print_json(
            {"space": name, "source": source, "items": report.items, "new": report.new_sources}
        )
    else:
        print(f"imported {report.items} items into {name} ({report.new_sources} new source rows)")


def export(
    name: Annotated[str, typer.Argument(help="The space.", show_default=False)],
    file: Annotated[Path, typer.Argument(help="The .parquet to write.", show_default=False)],
    vectors: Annotated[
        bool, typer.Option("--vectors/--no-vectors", help="With or without the vectors.")
    ] = True,
) -> None:
    """Write the items of a space to a Parquet file that says which space it is of.

    Example: pipeline space export demo items.parquet --no-vectors
    """
    from pipeline import spaces, transfer
    from pipeline.postgres.database import Database

    if file.suffix.lower() != ".parquet":
        raise ConfigurationError(f"{file}: the file's name must end with .parquet")
    with Database.of(Settings.load()).open() as connection:
        space = spaces.get_space(connection, name)
        count = transfer.export_parquet(connection, space, file, vectors=vectors)
    print(f"exported {count} items to {file}")


def _columns(pairs: list[str]) -> dict[str, str]:
    renamed = {}
    for pair in pairs:
        field, equals, column = pair.partition("=")
        if not (field and equals and column):
            raise ConfigurationError(f"--column takes FIELD=COLUMN, not {pair!r}")
        renamed[field] = column
    return renamed
