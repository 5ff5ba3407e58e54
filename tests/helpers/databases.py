"""The databases that tests make on one server, and what the server has."""

from pipeline.postgres.connections import connect


def database_url(url: str, name: str) -> str:
    """The same server, another database."""
    return url.replace("/pipeline?", f"/{name}?")


def has_dblink(url: str) -> bool:
    """Whether the server of this database has the extension, which comes with PostgreSQL."""
    query = "SELECT FROM pg_available_extensions WHERE name = 'dblink'"
    with connect(url) as connection:
        return connection.execute(query).rowcount == 1
