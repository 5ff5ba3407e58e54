"""Alembic from anywhere: a checkout, or the wheel, which carries the migrations."""

from importlib.resources import as_file, files
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from psycopg import Error
from sqlalchemy import pool
from sqlalchemy.exc import DBAPIError

from pipeline.errors import ConfigurationError, DatabaseError
from pipeline.postgres.connections import connect, explain
from pipeline.postgres.engines import create_engine
from pipeline.postgres.requirements import check_server

# Any two of ours may run at once (several containers start together); one waits for the other.
MIGRATION_LOCK = 0x70697065


def carried(name: str) -> Path:
    """The folder ``migrations`` or ``sql``: in the wheel, else in the checkout beside us."""
    with as_file(files("pipeline") / f"_{name}") as packaged:
        if packaged.is_dir():
            return packaged
    checkout = Path(__file__).resolve().parents[2] / name
    if checkout.is_dir():
        return checkout
    raise ConfigurationError(f"this installation lacks its {name}; reinstall the package")


def _config() -> Config:
    config = Config()
    # Alembic's configuration is an INI file at heart: a percent sign in the path is an escape.
    config.set_main_option("script_location", str(carried("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def upgrade(url: str, revision: str = "head") -> list[str]:
    """Bring the schema to ``revision``; returns the revisions applied, none if it was there.

    Raises:
        ConfigurationError: there is no such revision.
        DatabaseError: the server is unreachable, lacks pgvector or refuses a statement.
    """
    return _run(url, "upgrade", revision)


def downgrade(url: str, revision: str) -> list[str]:
    """Take the schema back to ``revision`` (``base``: remove it); returns what was undone."""
    return _run(url, "downgrade", revision)


def _run(url: str, direction: str, revision: str) -> list[str]:
    with connect(url) as first:
        check_server(first)
    config = _config()
    script = ScriptDirectory.from_config(config)
    engine = create_engine(url, poolclass=pool.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_lock({MIGRATION_LOCK})")
        connection.commit()
        before = MigrationContext.configure(connection).get_current_revision()
        connection.commit()
        config.attributes["connection"] = connection
        try:
            getattr(command, direction)(config, revision)
        except CommandError as exc:
            raise ConfigurationError(f"{exc}; {_known(script)}") from exc
        except DBAPIError as exc:
            reason = explain(exc.orig) if isinstance(exc.orig, Error) else str(exc.orig)
            raise DatabaseError(f"the {direction} to {revision} failed: {reason}") from exc
        connection.commit()
        after = MigrationContext.configure(connection).get_current_revision()
    engine.dispose()
    if before == after:
        return []
    if direction == "upgrade":
        return [s.revision for s in script.iterate_revisions(after, before or "base")][::-1]
    return [s.revision for s in script.iterate_revisions(before, after or "base")]


def _known(script: ScriptDirectory) -> str:
    """For messages; an older installation than the database's schema needs an upgrade itself."""
    revisions = sorted(revision.revision for revision in script.walk_revisions())
    return f"this installation knows base, {revisions[0]} to {revisions[-1]}, and head"


def current(url: str) -> tuple[str | None, str]:
    """The schema's revision and the newest this installation knows.

    Raises:
        DatabaseError: the server is unreachable.
    """
    head = ScriptDirectory.from_config(_config()).get_current_head() or ""
    with connect(url) as connection:
        row = connection.execute("SELECT to_regclass('alembic_version') IS NOT NULL").fetchone()
        if row and row[0]:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            return (row[0] if row else None), head
    return None, head
