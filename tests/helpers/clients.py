"""Every way in which an application has a client, each used like the one that blocks."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from pipeline import AsyncClient, Client

DOORS = ("url", "engine", "async url", "async psycopg", "async asyncpg")


class Awaited:
    """An ``AsyncClient`` whose methods are awaited in the runner's loop."""

    def __init__(self, client: AsyncClient, runner: asyncio.Runner) -> None:
        self.client = client
        self.runner = runner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.client, name)

        async def call(*arguments: Any, **named: Any) -> Any:
            return await method(*arguments, **named)

        return lambda *arguments, **named: self.runner.run(
            call(*arguments, **named), context=copy_context()
        )


def asyncpg_engine(url: str, **options: Any) -> AsyncEngine:
    """An engine of asyncpg, which knows nothing of libpq's parameters."""
    parts = conninfo_to_dict(url)
    named = {k: parts[k] for k in ("host", "port", "user", "password") if k in parts}
    named["port"] = int(named.get("port", 5432))
    given = {**named, "database": parts["dbname"], **options.pop("connect_args", {})}
    return create_async_engine("postgresql+asyncpg://", connect_args=given, **options)


def psycopg_url(url: str) -> str:
    """As SQLAlchemy has it."""
    return url.replace("postgresql:", "postgresql+psycopg:", 1)


@contextmanager
def client_by(door: str, url: str, **options: Any) -> Iterator[Client]:
    """A client of the database by one of ``DOORS``."""
    if door == "url":
        with Client(url, **options) as client:
            yield client
    elif door == "engine":
        engine = create_engine(psycopg_url(url))
        with Client(engine=engine, **options) as client:
            yield client
        engine.dispose()
    else:
        with asyncio.Runner() as runner:
            async_engine = None
            if door != "async url":
                async_engine = (
                    create_async_engine(psycopg_url(url))
                    if door == "async psycopg"
                    else asyncpg_engine(url)
                )
            client = AsyncClient(
                url if async_engine is None else None, engine=async_engine, **options
            )
            try:
                yield Awaited(client, runner)  # type: ignore[misc]
            finally:
                runner.run(client.close())
                if async_engine is not None:
                    runner.run(async_engine.dispose())
