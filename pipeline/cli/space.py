"""``pipeline space``: the life of an embedding space, from its model to its end."""

import sys
from typing import Annotated, Any

import typer

from pipeline.cli.output import note, wrong
from pipeline.cli.space_build import build
from pipeline.cli.space_files import export, import_
from pipeline.cli.space_show import list_spaces, show_space
from pipeline.cli.summaries import WholeSummaries
from pipeline.errors import ConfigurationError
from pipeline.settings import Precision, Settings, VectorType

# What needs the database driver, torch or pyarrow is imported by the command that uses it:
# `pipeline --help` would pay half a second for it otherwise.
app = typer.Typer(
    help="Create, build, activate, roll back, import, export and drop embedding spaces.",
    no_args_is_help=True,
    cls=WholeSummaries,
    add_completion=False,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(help="The space.", show_default=False)]
RecreateViews = Annotated[
    bool,
    typer.Option("--recreate-views", help="Drop and remake views on the vector column."),
]
Attempts = Annotated[
    int, typer.Option(min=1, help="How often to try for the lock, about once a second.")
]


app.command("list")(list_spaces)
app.command("show")(show_space)


@app.command()
def create(
    name: Name,
    model: Annotated[
        str | None,
        typer.Option(help="ARCH/TAG, hf-hub:..., a local folder, or demo.", show_default=False),
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(help="Of the weights; auto measures the CPU.", show_default=False),
    ] = None,
    vector_type: Annotated[
        VectorType | None, typer.Option(help="Of the column.", show_default=False)
    ] = None,
    hnsw: Annotated[
        str | None,
        typer.Option(help="Of the index: m=16,ef_construction=64.", show_default=False),
    ] = None,
) -> None:
    """Create a space for a model, with a job for every source row; searches go on as before.

    Example: pipeline space create new --model demo --precision float32
    """
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import CHANGE
    from pipeline.spaces.opening import NewSpace, create_space

    settings = Settings.load(
        model=model, precision=precision, vector_type=vector_type, **_hnsw(hnsw)
    )
    with Database.of(settings).open(needs=CHANGE) as connection:
        space = create_space(connection, NewSpace.of(settings, name), note)
    print(
        f"created {space.name}: {space.model}, {space.dimensions} dimensions, {space.precision}, "
        f"{space.vector_type}"
    )
    note(f"next: pipeline space build {space.name}")


app.command()(build)


@app.command()
def activate(
    name: Name,
    min_coverage: Annotated[
        float, typer.Option(min=0, max=1, help="Least share of the source rows it must have.")
    ] = 1.0,
    gate: Annotated[
        bool, typer.Option("--gate/--no-gate", help="Measure the space before, and refuse it.")
    ] = True,
    min_recall: Annotated[
        float, typer.Option(min=0, max=1, help="Gate: least recall@10 of its indexes.")
    ] = 0.9,
    pairs: Annotated[
        str | None,
        typer.Option(help="Gate: metadata key to compare retrieval by.", show_default=False),
    ] = None,
    max_loss: Annotated[
        float, typer.Option(min=0, max=1, help="Gate: how much lower R@10 may be.")
    ] = 0.01,
    recreate_views: RecreateViews = False,
    attempts: Attempts = 30,
) -> None:
    """Make a built space the one that is searched; the old one stays for `space rollback`.

    Refused unless the space covers the source rows, its indexes are whole, and it passes the gate:
    recall against exact search, and with --pairs retrieval against the active space.

    Example: pipeline space activate new --pairs pair
    """
    from pipeline import spaces
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import CHANGE
    from pipeline.quality.gate import Gate, pass_gate

    with Database.of(Settings.load()).open(needs=CHANGE) as connection:
        space = spaces.get_space(connection, name)
        before = spaces.find_active(connection)
        if before is not None and before.id == space.id:
            print(f"{name} is active already")
            return
        if before is not None:
            spaces.check_coverage(connection, space, min_coverage)
            if gate:
                for sentence in pass_gate(connection, space, Gate(min_recall, pairs, max_loss)):
                    note(sentence)
        spaces.activate(
            connection,
            space,
            attempts=attempts,
            min_coverage=min_coverage,
            recreate=recreate_views,
        )
    print(f"{name} is active")
    if before is not None:
        note(f"back: pipeline space rollback; for good: pipeline space drop {before.name}")


@app.command()
def rollback(recreate_views: RecreateViews = False, attempts: Attempts = 30) -> None:
    """Make the space active again that was active before. Example: pipeline space rollback"""
    from pipeline import spaces
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import CHANGE
    from pipeline.queue import status

    with Database.of(Settings.load()).open(needs=CHANGE) as connection:
        space = spaces.rollback(connection, attempts=attempts, recreate=recreate_views)
        pending = status.counts(connection, space.id).pending
    print(f"{space.name} is active")
    if pending:
        note(f"{pending} source rows changed meanwhile: run `pipeline ingest --once`")


@app.command()
def drop(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a space that is not active, with all its vectors.

    Example: pipeline space drop old --yes
    """
    from pipeline import spaces
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import CHANGE

    with Database.of(Settings.load()).open(needs=CHANGE) as connection:
        space = spaces.get_space(connection, name)
        if space.state == "active":
            spaces.drop(connection, space)  # refuses, and says what to do
        items = spaces.item_count(connection, space)
        if not yes:
            if not sys.stdin.isatty():
                raise ConfigurationError(
                    f"dropping {name!r} deletes its {items} vectors; add --yes if that is meant"
                )
            typer.confirm(f"Delete the space {name} and its {items} vectors?", abort=True, err=True)
        spaces.drop(connection, space)
    print(f"dropped {name} and its {items} vectors")


app.command("import")(import_)
app.command()(export)


def _hnsw(text: str | None) -> dict[str, Any]:
    """``m=16,ef_construction=64`` as settings."""
    if text is None:
        return {}
    known = {"m": "hnsw_m", "ef_construction": "hnsw_ef_construction"}
    values: dict[str, Any] = {}
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if name not in known or not value.isdigit():
            wrong("--hnsw", f"m=16,ef_construction=64 is expected, not {text!r}")
        values[known[name]] = int(value)
    return values
