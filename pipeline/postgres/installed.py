"""The table ``installed_sql``: what of the files of ``sql/`` was installed last."""

from dataclasses import dataclass

from pipeline.postgres.connections import Connection
from pipeline.version import __version__


@dataclass(frozen=True, slots=True)
class Installed:
    """What ``installed_sql`` says; for its objects see ``objects.py``."""

    sha256: str
    roles: bool
    objects: tuple[str, ...]
    grants: tuple[str, ...]


def read_installed(connection: Connection) -> Installed | None:
    """What was installed last, if anything was."""
    row = connection.execute("SELECT to_regclass('installed_sql') IS NOT NULL").fetchone()
    if row and row[0]:
        row = connection.execute(
            "SELECT sha256, roles, objects, grants FROM installed_sql"
        ).fetchone()
        return Installed(row[0], row[1], tuple(row[2]), tuple(row[3])) if row else None
    return None


def record(connection: Connection, installed: Installed) -> None:
    """Note what was installed now."""
    forget(connection)
    connection.execute(
        """
        INSERT INTO installed_sql (sha256, version, roles, objects, grants)
        VALUES (%s, %s, %s, %s, %s)
        """,
        (
            installed.sha256,
            __version__,
            installed.roles,
            list(installed.objects),
            list(installed.grants),
        ),
    )


def forget(connection: Connection) -> None:
    """Nothing is installed any more."""
    connection.execute("DELETE FROM installed_sql")
