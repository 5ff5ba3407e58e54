"""The shop's Alembic; our tables in the same database are left alone."""

import os

from alembic import context
from models import Base
from sqlalchemy import create_engine

from pipeline.integrations.alembic import include_object, register_operations

register_operations()  # op.attach_source() and op.detach_source()
about = {"target_metadata": Base.metadata, "include_object": include_object}

if context.is_offline_mode():
    context.configure(dialect_name="postgresql", **about)
    with context.begin_transaction():
        context.run_migrations()
else:
    with create_engine(os.environ["DATABASE_URL"]).connect() as connection:
        context.configure(connection=connection, **about)
        with context.begin_transaction():
            context.run_migrations()
