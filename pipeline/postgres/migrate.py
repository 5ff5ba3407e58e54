"""Alembic from anywhere: a checkout, or the wheel, which carries the migrations."""

from dataclasses import dataclass, field

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from psycopg import Error
from sqlalchemy import Engine, pool
from sqlalchemy.exc import DBAPIError

from pipeline.errors import ConfigurationError, DatabaseError
from pipeline.postgres.carried import carried
from pipeline.postgres.connections import connect, explain
from pipeline.postgres.database import is_migrated
from pipeline.postgres.engines import create_engine
from pipeline.postgres.requirements import check_may_install, check_server
from pipeline.postgres.rights import CHANGE, require

# Key of the advisory lock under which migrations/env.py works.
MIGRATION_LOCK = 0x70697065


@dataclass
class Migrated:
    """What a run did; ``migrations/env.py`` fills it in.

    Attributes:
        revisions: those that were applied, or undone, in that order.
        installed: whether functions, triggers and views were installed, see ``schema.py``.
        adopted: whether the database was one from before the migrations were folded.
    """

    revisions: list[str] = field(default_factory=list)
    installed: bool = False
    adopted: bool = False

    def __str__(self) -> str:
        """For people, after `schema:`."""
        if self.revisions or self.adopted:
            return "migrated"
        return "functions and views renewed" if self.installed else "up to date"


def migration_engine(url: str) -> Engine:
    """No pool, and an isolation in which whoever waited sees what was done meanwhile."""
    return create_engine(url, poolclass=pool.NullPool, isolation_level="READ COMMITTED")


def _config() -> Config:
    config = Config()
    # Alembic's configuration is an INI file at heart: a percent sign in the path is an escape.
    config.set_main_option("script_location", str(carried("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def upgrade(
    url: str, revision: str = "head", *, roles: bool = True, old_pgvector: bool = False
) -> Migrated:
    """Bring the schema to ``revision``; at the newest one install the files of ``sql/`` as well.

    Args:
        roles: whether the roles ``pipeline_*`` are wanted.
        old_pgvector: whether a pgvector that loses rows will do.

    Raises:
        ConfigurationError: there is no such revision.
        DatabaseError: the server is unreachable, lacks pgvector or refuses a statement.
    """
    check(url, old_pgvector=old_pgvector)
    return _run(url, "upgrade", revision, roles=roles)


def downgrade(url: str, revision: str) -> Migrated:
    """Take the schema back to ``revision`` (``base``: remove it)."""
    check(url, old_pgvector=True)
    return _run(url, "downgrade", revision)


def check(url: str, *, old_pgvector: bool = False) -> None:
    """Refuse a server that is not fit, and a login that may not change the tables.

    Raises:
        DatabaseError: with what to do about it.
    """
    with connect(url) as connection:
        check_server(connection, old_pgvector=old_pgvector)
        if is_migrated(connection):
            require(connection, CHANGE)
        check_may_install(connection)


def _run(url: str, direction: str, revision: str, *, roles: bool = True) -> Migrated:
    config = _config()
    migrated = Migrated()
    with migration_engine(url).connect() as connection:
        config.attributes.update(connection=connection, migrated=migrated, roles=roles)
        try:
            getattr(command, direction)(config, revision)
        except CommandError as exc:
            raise ConfigurationError(f"{exc}; {_known()}") from exc
        except DBAPIError as exc:
            reason = explain(exc.orig) if isinstance(exc.orig, Error) else str(exc.orig)
            raise DatabaseError(f"the {direction} to {revision} failed: {reason}") from exc
        except Error as exc:  # of what runs on the driver's connection itself
            raise DatabaseError(f"the {direction} to {revision} failed: {explain(exc)}") from exc
    return migrated


def _known() -> str:
    """For messages; an older installation than the database's schema needs an upgrade itself."""
    script = ScriptDirectory.from_config(_config())
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
