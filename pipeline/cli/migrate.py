"""``pipeline migrate``: the schema, and the first space."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.output import note, say, wrong

if TYPE_CHECKING:
    from pipeline.postgres.database import Database
    from pipeline.settings import Settings


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
        undone = migrations.downgrade(url, revision, schema=schema).revisions
        print(f"schema: went back to {revision} ({len(undone)} revisions undone)")
        return
    migrated = migrations.upgrade(
        url,
        revision,
        roles=settings.roles,
        old_pgvector=settings.old_pgvector,
        schema=schema,
    )
    at, _ = migrations.current(url, schema=schema)
    print(f"schema: {migrated} at revision {at}")
    if revision not in {"head", head} or not space:
        return
    _ensure_space(database, settings)


def _ensure_space(database: "Database", settings: "Settings") -> None:
    from pipeline.spaces.opening import NewSpace, ensure_space

    with database.connect() as connection:
        found, created = ensure_space(connection, NewSpace.of(settings), note)
    say(
        f"space:  {found.name} ({found.model}, {found.dimensions} dimensions, {found.precision}) "
        f"{'created and active' if created else 'is active'}"
    )
