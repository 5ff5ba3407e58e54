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
from pipeline.postgres import revisions
from pipeline.postgres.carried import carried
from pipeline.postgres.connections import connect, errors_of_ours, explain
from pipeline.postgres.engines import create_engine
from pipeline.postgres.full_text import renew_full_text_index
from pipeline.postgres.place import check_place, is_migrated
from pipeline.postgres.requirements import check_may_install, check_server
from pipeline.postgres.rights import CHANGE, require
from pipeline.postgres.session import settle_transaction
from pipeline.postgres.standby import refuse_standby
from pipeline.postgres.strangers import check_strangers
from pipeline.settings import DEFAULT_SCHEMA

# Key of the advisory lock under which migrations/env.py works.
MIGRATION_LOCK = 0x70697065


@dataclass
class Migrated:
    """What a run did; ``migrations/env.py`` fills it in.

    Attributes:
        revisions: those that were applied, or undone, in that order.
        installed: whether functions, triggers and views were installed, see ``schema.py``.
        adopted: whether the revision was taken over from Alembic's usual table, see
            ``adoption.py``.
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
    return create_engine(
        url,
        poolclass=pool.NullPool,
        isolation_level="READ COMMITTED",
        # It would be looked for as soon as we connect, by names that others may have taken.
        use_native_hstore=False,
    )


def _config() -> Config:
    config = Config()
    # Alembic's configuration is an INI file at heart: a percent sign in the path is an escape.
    config.set_main_option("script_location", str(carried("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def upgrade(
    url: str,
    revision: str = "head",
    *,
    roles: bool = True,
    old_pgvector: bool = False,
    schema: str = DEFAULT_SCHEMA,
) -> Migrated:
    """Bring the schema to ``revision``; at the newest one install the files of ``sql/`` as well.

    Args:
        roles: whether the roles ``pipeline_*`` are wanted.
        old_pgvector: whether a pgvector that loses rows will do.
        schema: for all that is ours; made where it is not there.

    Raises:
        ConfigurationError: there is no such revision, or our tables are in another schema.
        DatabaseError: the server is unreachable, lacks pgvector or refuses a statement.
    """
    check(url, old_pgvector=old_pgvector, schema=schema)
    migrated = _run(url, "upgrade", revision, roles=roles, schema=schema)
    with connect(url, schema=None) as connection, errors_of_ours():
        renew_full_text_index(connection, schema)
    return migrated


def downgrade(url: str, revision: str, *, schema: str = DEFAULT_SCHEMA) -> Migrated:
    """Take the schema back to ``revision`` (``base``: remove it)."""
    check(url, old_pgvector=True, schema=schema)
    return _run(url, "downgrade", revision, schema=schema)


def check(url: str, *, old_pgvector: bool = False, schema: str = DEFAULT_SCHEMA) -> None:
    """Refuse a server that is not fit, and a login that may not change the tables.

    Raises:
        ConfigurationError: our tables are in another schema.
        DatabaseError: with what to do about it.
    """
    with connect(url, schema=None) as connection, connection.transaction():
        settle_transaction(connection, None)
        check_server(connection, old_pgvector=old_pgvector)
        refuse_standby(connection, url)
        check_place(connection, schema)
        check_strangers(connection, schema)
        # Only now is it known that bare names lead nowhere else there.
        settle_transaction(connection, schema)
        if is_migrated(connection, schema):
            require(connection, CHANGE)
        check_may_install(connection, schema)


def _run(url: str, direction: str, revision: str, *, schema: str, roles: bool = True) -> Migrated:
    config = _config()
    migrated = Migrated()
    with migration_engine(url).connect() as connection:
        config.attributes.update(
            connection=connection, migrated=migrated, roles=roles, schema=schema
        )
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


def unknown(revision: str) -> str | None:
    """A sentence about a revision that there is not; None: there is."""
    script = ScriptDirectory.from_config(_config())
    if revision in {"base", "head", *(known.revision for known in script.walk_revisions())}:
        return None
    return f"there is no revision {revision!r}; {_known()}"


def _known() -> str:
    """For messages; an older installation than the database's schema needs an upgrade itself."""
    script = ScriptDirectory.from_config(_config())
    known = sorted(step.revision for step in script.walk_revisions())
    return f"this installation knows base, {known[0]} to {known[-1]}, and head"


def current(url: str, *, schema: str = DEFAULT_SCHEMA) -> tuple[str | None, str]:
    """The schema's revision and the newest this installation knows.

    Raises:
        DatabaseError: the server is unreachable.
    """
    head = ScriptDirectory.from_config(_config()).get_current_head() or ""
    with connect(url, schema=None) as connection, connection.transaction():
        settle_transaction(connection, None)  # by way of a pooler as well
        return max(revisions.of_ours(connection, schema), default=None), head
