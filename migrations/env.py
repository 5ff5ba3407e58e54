"""Alembic's entry: runs on the connection that `pipeline migrate` hands over, or on its own one.

One transaction holds all of a command: the revisions, and the files of sql/, which are installed
when the database is at the newest revision and gone as long as it is at an older one.
"""

from typing import Any

from alembic import context
from alembic.util import CommandError
from sqlalchemy import BLANK_SCHEMA, Connection, MetaData
from sqlalchemy.sql.schema import SchemaItem

from pipeline.errors import PipelineError
from pipeline.integrations.alembic import OF_A_SPACE
from pipeline.models import Base
from pipeline.models.embedding import Embedding
from pipeline.postgres import revisions, schema
from pipeline.postgres.adoption import adopt
from pipeline.postgres.attachments import end_attachments
from pipeline.postgres.database import Database
from pipeline.postgres.locks import take
from pipeline.postgres.migrate import MIGRATION_LOCK, Migrated, migration_engine
from pipeline.postgres.place import check_place, drop_schema, make_schema
from pipeline.postgres.relation_locks import RelationLocks
from pipeline.postgres.session import settle_transaction
from pipeline.postgres.strangers import check_strangers
from pipeline.postgres.table_locks import stepping_aside, wait_shortly
from pipeline.settings import DEFAULT_SCHEMA, Settings


def ours(item: SchemaItem, name: str | None, kind: str, *_: object) -> bool:
    """What `alembic check` compares."""
    if kind == "table" and name == revisions.TABLE:
        return False
    return not (kind in {"table", "index"} and name and OF_A_SPACE.fullmatch(name))


def same_type(
    context_: object, inspected: object, column: object, db_type: object, model_type: object
) -> bool | None:
    """A vector column's dimensions and type are those of the active space: never a difference."""
    if isinstance(model_type, Embedding):
        return False
    return None


def tables_in(place: str | None) -> MetaData:
    """The models' tables as Alembic reflects them: with their schema, unless it is the default."""
    metadata = MetaData()
    for table in Base.metadata.sorted_tables:
        # A foreign key of ours leads to a table of ours.
        table.to_metadata(
            metadata, schema=place, referred_schema_fn=lambda *_: place or BLANK_SCHEMA
        )
    return metadata


def run(connection: Connection, migrated: Migrated, *, roles: bool, home: str) -> None:
    """What Alembic was asked for, and what belongs to it here; ``migrated`` is filled in.

    From the beginning again where an application uses what is to be locked.
    """
    locks = RelationLocks([table.name for table in Base.metadata.sorted_tables])
    stepping_aside(
        connection.connection.driver_connection,
        home,
        lambda: attempt(connection, migrated, locks, roles=roles, home=home),
        what="the migration",
    )


def is_up_to_date(connection: Any, *, roles: bool) -> bool:
    """Whether nothing is to be done, so that nothing need be locked."""
    heads = set(context.get_context().get_current_heads())
    return heads == set(context.script.get_heads()) and schema.is_standing(connection, roles=roles)


def attempt(
    connection: Connection, migrated: Migrated, locks: RelationLocks, *, roles: bool, home: str
) -> None:
    """One transaction."""

    def note(*, step: Any, **_: object) -> None:
        migrated.revisions.append(step.up_revision_id)

    default = connection.dialect.default_schema_name
    place = None if home == default else home
    migrated.revisions.clear()
    with connection.begin():
        driver = connection.connection.driver_connection
        # PostgreSQL's own names alone, until it is known who could have put others into ours.
        settle_transaction(driver, None)
        wait_shortly(driver)
        check_strangers(driver, home)
        schema.note_what_is_there(driver, home)
        settle_transaction(driver, home)
        context.configure(
            connection=connection,
            target_metadata=tables_in(place),
            include_schemas=True,
            include_name=lambda name, kind, _: kind != "schema" or name == place,
            include_object=ours,
            compare_type=same_type,
            compare_server_default=False,
            version_table=revisions.TABLE,
            version_table_schema=home,
            on_version_apply=note,
        )
        asked = context.get_context().opts["fn"].__name__
        moves = asked in {"upgrade", "downgrade"}  # `check` and `current`, say, change nothing
        if moves:
            # Any two may run at once (several containers start together): one waits for the other.
            take(driver, MIGRATION_LOCK)
            check_place(driver, home)
            make_schema(driver, home)
            for_good = not context.get_revision_argument()
            if asked == "downgrade":
                # Whoever writes into an attached table takes its lock first, and then ours.
                end_attachments(driver, for_good=for_good)
            if asked == "downgrade" or not is_up_to_date(driver, roles=roles):
                locks.take(driver, home, tables=asked == "downgrade")
            migrated.adopted = adopt(driver, home)
            revisions.make_table(driver, home)
        if asked == "downgrade":
            schema.uninstall(driver, for_good=for_good)
        with context.begin_transaction():
            context.run_migrations()
        heads = set(context.get_context().get_current_heads())
        if moves and heads == set(context.script.get_heads()):
            migrated.installed = schema.install(driver, roles=roles)
        if moves and not heads:
            revisions.drop_table(driver, home)
            drop_schema(driver, home)


if context.is_offline_mode():
    raise CommandError(
        "there is no script: what is to be installed depends on what the database has (pgvector's "
        "schema, roles, functions of an older release); run `pipeline migrate` in an empty "
        "database and take `pg_dump --schema-only` of it"
    )
given = context.config.attributes
if "connection" in given:
    run(
        given["connection"],
        given.get("migrated", Migrated()),
        roles=given.get("roles", True),
        home=given.get("schema", DEFAULT_SCHEMA),
    )
else:
    try:
        settings = Settings.load()
        database = Database.of(settings)
        with migration_engine(database.url).connect() as own:
            run(own, Migrated(), roles=settings.roles, home=database.schema)
    except PipelineError as exc:
        raise CommandError(str(exc)) from exc
