"""SQLAlchemy engines, for applications and migrations; the worker has ``connections.py``."""

from typing import Any

from sqlalchemy import Engine, make_url
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
    connect_args = {
        "application_name": APPLICATION,
        "prepare_threshold": None,
        "client_encoding": "UTF8",
        **KEEPALIVE,
        **options.pop("connect_args", {}),
    }
    options.setdefault("pool_pre_ping", "poolclass" not in options)
    parsed = make_url(libpq_url(url)).set(drivername="postgresql+psycopg")
    if schema != SCHEMA:
        options["execution_options"] = {
            "schema_translate_map": {SCHEMA: schema},
            **options.get("execution_options", {}),
        }
    return sqlalchemy_create_engine(parsed, connect_args=connect_args, **options)
