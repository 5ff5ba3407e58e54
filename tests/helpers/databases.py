"""Databases and logins that tests make on one server, and what the server has."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import sql

from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.embedded import EmbeddedServer


def database_url(url: str, name: str) -> str:
    """The same server, another database."""
    return url.replace("/pipeline?", f"/{name}?")


def has_dblink(url: str) -> bool:
    """Whether the server of this database has the extension, which comes with PostgreSQL."""
    query = "SELECT FROM pg_available_extensions WHERE name = 'dblink'"
    with connect(url) as connection:
        return connection.execute(query).rowcount == 1


@contextmanager
def copied(server: EmbeddedServer, template: str) -> Iterator[str]:
    """The URL of a copy of a database, for a module's tests together."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    new, of = sql.Identifier(name), sql.Identifier(template)
    with connect(server.url()) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(new, of))
        try:
            yield database_url(server.url(), name)
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(new))


def login_url(url: str, name: str) -> str:
    """The same database, as somebody else."""
    return url.replace("user=postgres", f"user={name}")


@contextmanager
def role(connection: Connection, name: str, options: str = "LOGIN") -> Iterator[str]:
    """A role that is gone afterwards, with what it made in this database."""
    drop_role(connection, name)
    connection.execute(f"CREATE ROLE {name} {options}".encode())
    try:
        yield name
    finally:
        drop_role(connection, name)


def drop_role(connection: Connection, name: str) -> None:
    if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone():
        connection.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(name)))
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@contextmanager
def as_login(
    connection: Connection, url: str, name: str, options: str = "LOGIN"
) -> Iterator[Connection]:
    """A connection of a new login to the same database."""
    with role(connection, name, options), connect(login_url(url, name)) as own:
        yield own
