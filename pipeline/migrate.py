"""Alembic from anywhere: a checkout, or the wheel, which carries the migrations."""

from importlib.resources import as_file, files
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import pool

from pipeline.database import check_server, connect
from pipeline.engines import create_engine
from pipeline.errors import ConfigurationError

# Any two of ours may run at once (several containers start together); one waits for the other.
MIGRATION_LOCK = 0x70697065


def carried(name: str) -> Path:
    """The folder ``migrations`` or ``sql``: in the wheel, else in the checkout beside us."""
    with as_file(files("pipeline") / f"_{name}") as packaged:
        if packaged.is_dir():
            return packaged
    checkout = Path(__file__).resolve().parent.parent / name
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
        DatabaseError: the server is unreachable or lacks pgvector.
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
        getattr(command, direction)(config, revision)
        connection.commit()
        after = MigrationContext.configure(connection).get_current_revision()
    engine.dispose()
    if before == after:
        return []
    if direction == "upgrade":
        return [s.revision for s in script.iterate_revisions(after, before or "base")][::-1]
    return [s.revision for s in script.iterate_revisions(before, after or "base")]


def current(url: str) -> tuple[str | None, str]:
    """The schema's revision and the newest this installation knows."""
    head = ScriptDirectory.from_config(_config()).get_current_head() or ""
    engine = create_engine(url, poolclass=pool.NullPool)
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision(), head
