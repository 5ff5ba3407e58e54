"""SQLAlchemy engines, for applications and migrations; the worker has ``connections.py``."""

from typing import Any

from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL, Engine
from sqlalchemy import create_engine as sqlalchemy_create_engine

from pipeline.models.base import SCHEMA
from pipeline.postgres.connections import APPLICATION, KEEPALIVE
from pipeline.postgres.urls import libpq_url


def create_engine(url: str, *, schema: str = SCHEMA, **options: Any) -> Engine:
    """A SQLAlchemy engine on psycopg 3 that works behind PgBouncer's transaction mode too.

    Args:
        schema: that of our tables, which the models are translated to.

    Raises:
        ConfigurationError: the URL cannot be read, or is not one of PostgreSQL.
    """
    # Not by SQLAlchemy's own reading of URLs: a + would be a blank, and several hosts an error.
    parts = conninfo_to_dict(libpq_url(url))
    connect_args = {
        **parts,
        "application_name": APPLICATION,
        "prepare_threshold": None,
        "client_encoding": "UTF8",
        **KEEPALIVE,
        **options.pop("connect_args", {}),
    }
    options.setdefault("pool_pre_ping", "poolclass" not in options)
    name = None if parts.get("dbname") is None else str(parts["dbname"])
    named = URL.create("postgresql+psycopg", database=name)
    if schema != SCHEMA:
        options["execution_options"] = {
            "schema_translate_map": {SCHEMA: schema},
            **options.get("execution_options", {}),
        }
    return sqlalchemy_create_engine(named, connect_args=connect_args, **options)
