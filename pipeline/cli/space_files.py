"""``pipeline space import`` and ``export``: vectors that exist already, in and out."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.output import print_json, wrong
from pipeline.cli.space_answers import export_pending, import_answers
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.postgres.database import Database
    from pipeline.spaces import Space
    from pipeline.transfer import ForeignItem

# What needs the database driver and pyarrow is imported by the command that uses it.


def import_(
    name: Annotated[str, typer.Argument(help="The space the vectors are of.", show_default=False)],
    file: Annotated[
        Path | None,
        typer.Argument(help="A .parquet or .npy file, or a folder of answers.", show_default=False),
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
    must be there already. A folder holds the answers for rows that were exported with --pending.

    Example: pipeline space import new vectors.parquet --column source_key=sku
    """
    from pipeline import spaces, transfer
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import ADD

    if (file is None) == (table is None):
        wrong("FILE", "give a .parquet or .npy file, a folder of answers, or --table NAME")
    if file is not None and file.is_dir():
        import_answers(name, file, as_json=as_json)
        return
    if file is not None:
        _check_file(file, ids)
    renamed = _columns(column or [])
    database = Database.of(Settings.load())
    with database.open(needs=ADD) as connection, contextlib.ExitStack() as stack:
        space = spaces.get_space(connection, name)
        if table is not None:
            rows = _rows_of_table(stack, database, from_url, table, renamed)
        else:
            assert file is not None
            rows = _rows_of_file(stack, database, space, file, ids, source, renamed)
        report = transfer.import_items(connection, space, source, rows)
    if as_json:
        print_json(
            {"space": name, "source": source, "items": report.items, "new": report.new_sources}
        )
    else:
        print(f"imported {report.items} items into {name} ({report.new_sources} new source rows)")


def export(
    name: Annotated[str, typer.Argument(help="The space.", show_default=False)],
    file: Annotated[
        Path,
        typer.Argument(help="The .parquet to write; with --pending a folder.", show_default=False),
    ],
    pending: Annotated[
        bool,
        typer.Option("--pending", help="The rows that wait, to be embedded elsewhere."),
    ] = False,
    limit: Annotated[
        int | None, typer.Option(help="With --pending: at most so many.", min=1)
    ] = None,
    vectors: Annotated[
        bool, typer.Option("--vectors/--no-vectors", help="With or without the vectors.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write the items of a space to a Parquet file that says which space it is of.

    With --pending the rows that wait for the space: embed them with pipeline.integrations.ray, and
    `pipeline space import` the answers.

    Example: pipeline space export demo items.parquet --no-vectors
    """
    from pipeline import spaces, transfer
    from pipeline.postgres.database import Database

    if pending:
        export_pending(name, file, limit, as_json=as_json)
        return
    if limit is not None:
        wrong("--limit", "it is for --pending")
    if file.suffix.lower() != ".parquet":
        wrong("FILE", f"{file}: the file's name must end with .parquet")
    with Database.of(Settings.load()).open() as connection:
        space = spaces.get_space(connection, name)
        count = transfer.export_parquet(connection, space, file, vectors=vectors)
    if as_json:
        print_json({"space": name, "file": str(file), "items": count, "vectors": vectors})
    else:
        print(f"exported {count} items to {file}")


def _rows_of_table(
    stack: contextlib.ExitStack,
    database: "Database",
    url: str | None,
    table: str,
    renamed: dict[str, str],
) -> "Iterator[ForeignItem]":
    from pipeline import transfer
    from pipeline.postgres.connections import connect

    # The table is the user's, found as they find it.
    other = stack.enter_context(
        connect(url or database.url, schema=None, role="pipeline import", keeps_path=True)
    )
    return transfer.from_table(other, table, renamed)


def _rows_of_file(
    stack: contextlib.ExitStack,
    database: "Database",
    space: "Space",
    file: Path,
    ids: Path | None,
    source: str,
    renamed: dict[str, str],
) -> "Iterator[ForeignItem]":
    from pipeline import transfer

    suffix = file.suffix.lower()
    if suffix == ".parquet":
        transfer.check_claim(space, transfer.parquet_claim(file))
        return transfer.from_parquet(file, renamed)
    assert ids is not None
    other = stack.enter_context(database.open("pipeline import"))
    return transfer.from_npy(file, ids, other, source)


def _check_file(file: Path, ids: Path | None) -> None:
    suffix = file.suffix.lower()
    if suffix not in {".parquet", ".npy"}:
        wrong("FILE", f"{file}: .parquet and .npy can be imported")
    if suffix == ".npy" and ids is None:
        wrong("--ids", "a .npy file has no keys: give them with --ids keys.txt")


def _columns(pairs: list[str]) -> dict[str, str]:
    renamed = {}
    for pair in pairs:
        field, equals, column = pair.partition("=")
        if not (field and equals and column):
            wrong("--column", f"FIELD=COLUMN is expected, not {pair!r}")
        renamed[field] = column
    return renamed
