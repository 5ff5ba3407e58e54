"""Alembic's entry: runs on the connection that `pipeline migrate` hands over, or on its own one."""

import re

from alembic import context
from sqlalchemy import Connection, pool
from sqlalchemy.sql.schema import SchemaItem

from pipeline.models import Base
from pipeline.postgres.database import Database
from pipeline.postgres.engines import create_engine
from pipeline.settings import Settings

# Tables and indexes that belong to one space are made by pipeline/spaces.py, not by migrations.
OF_A_SPACE = re.compile(r"multimodal_items_([a-z]+_s\d+.*|embedding)")


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


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_object=ours,
        compare_type=same_type,
        compare_server_default=False,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    engine = create_engine(Database.of(Settings.load()).url, poolclass=pool.NullPool)
    with engine.connect() as own:
        run(own)
