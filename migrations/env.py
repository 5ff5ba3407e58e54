"""Alembic's entry: runs on the connection that `pipeline migrate` hands over, or on its own one.

One transaction holds all of a command: the revisions, and the files of sql/, which are installed
when the database is at the newest revision and gone as long as it is at an older one.
"""

import re
from typing import Any

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection
from sqlalchemy.sql.schema import SchemaItem

from pipeline.errors import PipelineError
from pipeline.models import Base
from pipeline.postgres import schema
from pipeline.postgres.adoption import adopt
from pipeline.postgres.database import Database
from pipeline.postgres.locks import take
from pipeline.postgres.migrate import MIGRATION_LOCK, Migrated, migration_engine
from pipeline.settings import Settings

# Tables and indexes that belong to one space are made by pipeline/spaces, not by migrations.
OF_A_SPACE = re.compile(r"multimodal_items_([a-z][a-z0-9_]*_s\d+.*|embedding)")


def ours(item: SchemaItem, name: str | None, kind: str, *_: object) -> bool:
    """What `alembic check` compares."""
    return not (kind in {"table", "index"} and name and OF_A_SPACE.fullmatch(name))


def same_type(
    context_: object, inspected: object, column: object, db_type: object, model_type: object
) -> bool | None:
    """A vector column's dimensions and type are those of the active space: never a difference."""
    if type(model_type).__name__ == "HALFVEC":
        return False
    return None


def run(connection: Connection, migrated: Migrated, *, roles: bool) -> None:
    """What Alembic was asked for, and what belongs to it here; ``migrated`` is filled in."""

    def note(*, step: Any, **_: object) -> None:
        migrated.revisions.append(step.up_revision_id)

    with connection.begin():
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            include_object=ours,
            compare_type=same_type,
            compare_server_default=False,
            on_version_apply=note,
        )
        asked = context.get_context().opts["fn"].__name__
        driver = connection.connection.driver_connection
        moves = asked in {"upgrade", "downgrade"}  # `check` and `current`, say, change nothing
        if moves:
            # Any two may run at once (several containers start together): one waits for the other.
            take(driver, MIGRATION_LOCK)
            migrated.adopted = adopt(driver)
        if asked == "downgrade":
            schema.uninstall(driver)
        with context.begin_transaction():
            context.run_migrations()
        if moves and set(context.get_context().get_current_heads()) == set(
            context.script.get_heads()
        ):
            migrated.installed = schema.install(driver, roles=roles)


given = context.config.attributes
if "connection" in given:
    run(given["connection"], given.get("migrated", Migrated()), roles=given.get("roles", True))
else:
    try:
        settings = Settings.load()
        with migration_engine(Database.of(settings).url).connect() as own:
            run(own, Migrated(), roles=settings.roles)
    except PipelineError as exc:
        raise CommandError(str(exc)) from exc
