"""``pipeline space``: the life of an embedding space, from its model to its end."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.commands import CommandLine
from pipeline.cli.gate_options import (
    GeneralPairs,
    MaxGeneralLoss,
    MaxLoss,
    MinRecall,
    Pairs,
    gate_of,
)
from pipeline.cli.index_options import Kind, index_kind
from pipeline.cli.output import note, print_json, wrong
from pipeline.cli.space_build import build
from pipeline.cli.space_files import export, import_
from pipeline.cli.space_pause import pause, resume
from pipeline.cli.space_reindex import reindex
from pipeline.cli.space_show import list_spaces, show_space
from pipeline.errors import ConfigurationError
from pipeline.setting_origins import bounds
from pipeline.settings import Precision, Settings, VectorType

if TYPE_CHECKING:
    from pipeline.spaces import Space

# What needs the database driver, torch or pyarrow is imported by the command that uses it:
# `pipeline --help` would pay half a second for it otherwise.
app = CommandLine(
    help="Create, build, pause, reindex, activate, roll back, import, export and drop spaces."
)

Name = Annotated[str, typer.Argument(help="The space.", show_default=False)]
RecreateViews = Annotated[
    bool,
    typer.Option("--recreate-views", help="Drop and remake views on the vector column."),
]
Attempts = Annotated[
    int, typer.Option(min=1, help="How often to try for the lock, about once a second.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


app.command("list")(list_spaces)
app.command("show")(show_space)


@app.command()
def create(
    name: Name,
    model: Annotated[
        str | None,
        typer.Option(help="ARCH/TAG, a hub's name, a local folder, or demo.", show_default=False),
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
        typer.Option(help="Of the index: m=24,ef_construction=128.", show_default=False),
    ] = None,
    target_recall: Annotated[
        float, typer.Option(min=0.01, max=1, help="Recall@10 that ef_search is chosen for.")
    ] = 0.95,
    index: Kind = None,
    as_json: AsJson = False,
) -> None:
    """Create a space for a model, with a job for every source row; searches go on as before.

    Example: pipeline space create new --model demo --precision float32
    """
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import CHANGE
    from pipeline.spaces.index.graph import IndexKind
    from pipeline.spaces.opening import NewSpace, create_space

    kind = index_kind(index) or IndexKind("full")
    settings = Settings.load(
        model=model, precision=precision, vector_type=vector_type, **_hnsw(hnsw)
    )
    _check_hnsw(settings, hnsw)
    with Database.of(settings).open(needs=CHANGE) as connection:
        new = NewSpace.of(settings, name, target_recall, kind.name)
        space = create_space(connection, new, note)
    if as_json:
        print_json(_as_dict(space))
    else:
        print(
            f"created {space.name}: {space.model}, {space.dimensions} dimensions, "
            f"{space.precision}, {space.vector_type}"
        )
    note(f"next: pipeline space build {space.name}")


app.command()(build)
app.command()(reindex)
app.command()(pause)
app.command()(resume)


@app.command()
def activate(
    name: Name,
    min_coverage: Annotated[
        float, typer.Option(min=0, max=1, help="Least share of the source rows it must have.")
    ] = 1.0,
    gate: Annotated[
        bool, typer.Option("--gate/--no-gate", help="Measure the space before, and refuse it.")
    ] = True,
    min_recall: MinRecall = 0.9,
    pairs: Pairs = None,
    max_loss: MaxLoss = 0.01,
    general_pairs: GeneralPairs = None,
    max_general_loss: MaxGeneralLoss = 0.02,
    recreate_views: RecreateViews = False,
    attempts: Attempts = 30,
    as_json: AsJson = False,
) -> None:
    """Make a built space the one that is searched; the old one stays for `space rollback`.

    Refused unless the space covers the source rows, its indexes are whole, and it passes the gate:
    recall against exact search, and with --pairs retrieval against the active space. A fine-tuned
    model has to find more by --pairs, and may lose little by --general-pairs.

    Example: pipeline space activate new --pairs pair
    """
    from pipeline import spaces
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import CHANGE
    from pipeline.quality import plain_sql
    from pipeline.quality.gate import pass_gate

    wanted = gate_of(min_recall, pairs, max_loss, general_pairs, max_general_loss)
    with Database.of(Settings.load()).open(needs=CHANGE) as connection:
        space = spaces.get_space(connection, name)
        before = spaces.find_active(connection)
        if before is not None and before.id == space.id:
            _tell_active(name, name, as_json=as_json)
            return
        if before is not None:
            spaces.check_coverage(connection, space, min_coverage)
            if gate:
                for sentence in pass_gate(connection, space, wanted):
                    note(sentence)
        spaces.activate(
            connection,
            space,
            attempts=attempts,
            min_coverage=min_coverage,
            recreate=recreate_views,
        )
        plain_sql.follow(connection)
    _tell_active(name, before.name if before else None, as_json=as_json)
    if before is not None:
        note(f"back: pipeline space rollback; for good: pipeline space drop {before.name}")


@app.command()
def rollback(
    recreate_views: RecreateViews = False, attempts: Attempts = 30, as_json: AsJson = False
) -> None:
    """Make the space active again that was active before. Example: pipeline space rollback"""
    from pipeline import spaces
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import CHANGE
    from pipeline.quality import plain_sql
    from pipeline.queue import status

    with Database.of(Settings.load()).open(needs=CHANGE) as connection:
        before = spaces.find_active(connection)
        space = spaces.rollback(connection, attempts=attempts, recreate=recreate_views)
        plain_sql.follow(connection)
        pending = status.counts(connection, space.id).pending
    _tell_active(space.name, before.name if before else None, as_json=as_json)
    if pending:
        note(f"{pending} source rows changed meanwhile: run `pipeline ingest --once`")


@app.command()
def drop(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
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
    if as_json:
        print_json({"dropped": name, "items": items})
    else:
        print(f"dropped {name} and its {items} vectors")


app.command("import")(import_)
app.command()(export)


def _tell_active(name: str, before: str | None, *, as_json: bool) -> None:
    """``before``: the space that was active until now, which may be the same."""
    if as_json:
        print_json({"active": name, "before": before})
    else:
        print(f"{name} is active{' already' if name == before else ''}")


def _as_dict(space: "Space") -> dict[str, Any]:
    fields = ("name", "model", "dimensions", "precision", "vector_type", "state")
    return {field: getattr(space, field) for field in fields}


def _check_hnsw(settings: Settings, text: str | None) -> None:
    """What was given, with what was not."""
    if text is not None and settings.hnsw_ef_construction < 2 * settings.hnsw_m:
        wrong(
            "--hnsw",
            f"ef_construction is at least twice m, {2 * settings.hnsw_m} here, not "
            f"{settings.hnsw_ef_construction}",
        )


def _hnsw(text: str | None) -> dict[str, Any]:
    """``m=24,ef_construction=128`` as settings; what no index can have is wrong usage."""
    if text is None:
        return {}
    known = {"m": "hnsw_m", "ef_construction": "hnsw_ef_construction"}
    values: dict[str, Any] = {}
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if name not in known or not (value.isascii() and value.isdecimal()):
            wrong("--hnsw", f"m=24,ef_construction=128 is expected, not {text!r}")
        least, most = bounds(known[name])
        if not least <= int(value) <= most:
            wrong("--hnsw", f"{name} is from {least} to {most}, not {value}")
        values[known[name]] = int(value)
    return values
