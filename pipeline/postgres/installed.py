"""The table ``installed_sql``: what of the files of ``sql/`` was installed last."""

from dataclasses import dataclass

from pipeline.postgres.connections import Connection
from pipeline.version import __version__


@dataclass(frozen=True, slots=True)
class Installed:
    """What ``installed_sql`` says; for its objects see ``objects.py``.

    Attributes:
        ef_search: what a measurement made the database's default of hnsw.ef_search.
    """

    sha256: str
    roles: bool
    objects: tuple[str, ...]
    grants: tuple[str, ...]
    ef_search: int | None = None


def read_installed(connection: Connection) -> Installed | None:
    """What was installed last, if anything was."""
    row = connection.execute("SELECT to_regclass('installed_sql') IS NOT NULL").fetchone()
    if row and row[0]:
        row = connection.execute(
            # By JSON, since a schema of an earlier release has no such column.
            "SELECT sha256, roles, objects, grants, (to_jsonb(i) ->> 'ef_search')::integer "
            "FROM installed_sql AS i"
        ).fetchone()
        return Installed(row[0], row[1], tuple(row[2]), tuple(row[3]), row[4]) if row else None
    return None


def record(connection: Connection, installed: Installed) -> None:
    """Note what was installed now."""
    forget(connection)
    connection.execute(
        """
        INSERT INTO installed_sql (sha256, version, roles, objects, grants, ef_search)
        VALUES (%s, %s, %s, %s, %s, %s)
        """,
        (
            installed.sha256,
            __version__,
            installed.roles,
            list(installed.objects),
            list(installed.grants),
            installed.ef_search,
        ),
    )


def note_ef_search(connection: Connection, value: int) -> None:
    """That the database's default of hnsw.ef_search is this by our word."""
    connection.execute("UPDATE installed_sql SET ef_search = %s", (value,))


def forget(connection: Connection) -> None:
    """Nothing is installed any more."""
    connection.execute("DELETE FROM installed_sql")
