"""``pipeline migrate``: the schema, and the first space."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.output import note, print_json, say, wrong

if TYPE_CHECKING:
    from pipeline.postgres.database import Database
    from pipeline.settings import Settings
    from pipeline.spaces import Space


def migrate(
    revision: Annotated[
        str, typer.Argument(help="head, a revision, or base to remove it all.")
    ] = "head",
    model: Annotated[
        str | None,
        typer.Option(help="Model of the first space, instead of PIPELINE_MODEL."),
    ] = None,
    space: Annotated[
        bool, typer.Option(help="Create and activate the first space if there is none.")
    ] = True,
    yes: Annotated[
        bool, typer.Option("--yes", help="Go back to an older revision without asking.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Bring the database's schema up to date, and create the first space if there is none.

    Example: pipeline migrate --model demo
    """
    # Late, as in every command: --help loads neither SQLAlchemy nor torch.
    from pipeline.errors import ConfigurationError
    from pipeline.postgres import migrate as migrations
    from pipeline.postgres.database import Database
    from pipeline.settings import Settings

    if problem := migrations.unknown(revision):
        wrong("REVISION", problem)
    settings = Settings.load(model=model)
    database = Database.of(settings)
    url, schema = database.url, database.schema
    migrations.check(url, old_pgvector=settings.old_pgvector, schema=schema)
    before, head = migrations.current(url, schema=schema)
    if (
        revision not in {"head", head}
        and before is not None
        and (revision == "base" or revision < before)
    ):
        if not yes:
            raise ConfigurationError(
                f"going back from {before} to {revision} deletes what the newer revisions hold; "
                "add --yes if that is meant"
            )
        _go_back(url, revision, schema, as_json=as_json)
        return
    migrated = migrations.upgrade(
        url,
        revision,
        roles=settings.roles,
        old_pgvector=settings.old_pgvector,
        schema=schema,
    )
    at, _ = migrations.current(url, schema=schema)
    if not as_json:
        print(f"schema: {migrated} at revision {at}")
    wants_space = space and revision in {"head", head}
    found = _ensure_space(database, settings, as_json=as_json) if wants_space else None
    if as_json:
        print_json({"revision": at, "undone": 0, "space": found.name if found else None})


def _go_back(url: str, revision: str, schema: str, *, as_json: bool) -> None:
    from pipeline.postgres import migrate as migrations

    undone = migrations.downgrade(url, revision, schema=schema).revisions
    if as_json:
        print_json({"revision": revision, "undone": len(undone), "space": None})
    else:
        print(f"schema: went back to {revision} ({len(undone)} revisions undone)")


def _ensure_space(database: "Database", settings: "Settings", *, as_json: bool) -> "Space":
    from pipeline.errors import MissingExtra
    from pipeline.spaces.creation import enqueue_derived
    from pipeline.spaces.opening import NewSpace, ensure_space

    with database.connect() as connection:
        try:
            found, created = ensure_space(connection, NewSpace.of(settings), note)
        except MissingExtra as exc:
            what, extra, _ = exc.args
            instead = "`pipeline migrate --no-space` for the tables alone, which are made"
            raise MissingExtra(what, extra, instead) from exc
        waiting = enqueue_derived(connection)
    if not as_json:
        say(
            f"space:  {found.name} ({found.model}, {found.dimensions} dimensions, "
            f"{found.precision}) {'created and active' if created else 'is active'}"
        )
        if waiting:
            say(f"jobs:   {waiting:,} of rows that a space embeds by another modality's encoder")
    return found
