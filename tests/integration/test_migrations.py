"""The migrations: forwards, backwards, by both commands, and the same tables as the ORM's."""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import pool

from pipeline import spaces
from pipeline.errors import DatabaseError
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.engines import create_engine
from tests.helpers.fakes import FakeEmbedder

ROOT = Path(__file__).parents[2]


def revisions() -> list[str]:
    return sorted(path.name[:4] for path in (ROOT / "migrations/versions").glob("0*.py"))


def objects(url: str) -> list[tuple[str, ...]]:
    """Everything of ours in the schema: relations, functions, triggers."""
    with connect(url) as connection:
        return connection.execute(
            """
            SELECT 'relation', relname FROM pg_class
            WHERE relnamespace = 'public'::regnamespace AND relname !~ '^alembic_version'
              AND NOT EXISTS (SELECT FROM pg_depend
                              WHERE objid IN (pg_class.oid, pg_class.reltype) AND deptype = 'e')
            UNION ALL
            SELECT 'function', p.oid::regprocedure::text FROM pg_proc AS p
            WHERE pronamespace = 'public'::regnamespace AND NOT EXISTS (
                SELECT FROM pg_depend WHERE objid = p.oid AND deptype = 'e')
            UNION ALL
            SELECT 'trigger', tgname FROM pg_trigger WHERE NOT tgisinternal
            ORDER BY 1, 2
            """
        ).fetchall()


def test_upgrade_then_downgrade_leaves_nothing_behind(empty_url: str) -> None:
    assert migrate.upgrade(empty_url) == revisions()
    with connect(empty_url) as connection:
        spaces.create(connection, "kept_detached", FakeEmbedder().description)
    assert migrate.downgrade(empty_url, "base") == revisions()[::-1]
    assert objects(empty_url) == []


def test_each_step_can_be_undone_and_done_again(empty_url: str) -> None:
    for revision in revisions():
        migrate.upgrade(empty_url, revision)
        after = objects(empty_url)
        previous = f"{int(revision) - 1:04d}" if revision != "0001" else "base"
        migrate.downgrade(empty_url, previous)
        migrate.upgrade(empty_url, revision)
        assert objects(empty_url) == after, f"revision {revision} is not reversible"


def test_a_second_upgrade_does_nothing(url: str) -> None:
    assert migrate.upgrade(url) == []
    assert migrate.current(url) == (revisions()[-1], revisions()[-1])


def test_the_orm_describes_the_same_tables(url: str) -> None:
    config = migrate._config()
    engine = create_engine(url, poolclass=pool.NullPool)
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.check(config)  # raises, and says what differs


def test_everything_has_a_comment(connection: Connection) -> None:
    bare = connection.execute(
        """
        SELECT c.relname, a.attname FROM pg_class AS c
        LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v')
          AND c.relname <> 'alembic_version'
          AND (obj_description(c.oid, 'pg_class') IS NULL
               OR col_description(c.oid, a.attnum) IS NULL)
        UNION ALL
        SELECT p.oid::regprocedure::text, NULL FROM pg_proc AS p
        WHERE p.pronamespace = 'public'::regnamespace
          AND obj_description(p.oid, 'pg_proc') IS NULL
          AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = p.oid AND deptype = 'e')
        """
    ).fetchall()
    assert bare == []


def test_alembic_itself_works_from_the_checkout(empty_url: str) -> None:
    for arguments in (["upgrade", "head"], ["check"], ["downgrade", "base"]):
        done = subprocess.run(
            [sys.executable, "-m", "alembic", *arguments],
            cwd=ROOT,
            env={"DATABASE_URL": empty_url, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert objects(empty_url) == []


def test_several_that_start_together_migrate_once(empty_url: str) -> None:
    program = (
        "import sys; from pipeline.postgres import migrate; print(migrate.upgrade(sys.argv[1]))"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, empty_url], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=60)[0].strip() for process in running]
    assert sorted(outputs) == sorted(["[]", "[]", str(revisions())])


@pytest.fixture
def server_with_pgvector(
    new_database: Callable[[], str],
) -> Iterator[Callable[[str | None], str]]:
    """A database whose server offers pgvector in the given version, or not at all."""
    with tempfile.TemporaryDirectory(prefix="pipeline-extensions-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the server's account reads it

        def make(version: str | None) -> str:
            url = new_database()
            (folder / "extension").mkdir()
            if version is not None:
                (folder / "extension/vector.control").write_text(
                    f"comment = 'vector data type'\ndefault_version = '{version}'\n"
                )
            with connect(url) as connection:
                connection.execute(
                    f"ALTER DATABASE {connection.info.dbname} "
                    f"SET extension_control_path = '{folder}'"
                )
            return url

        yield make


@pytest.mark.parametrize(
    ("version", "says"),
    [
        (None, "this PostgreSQL server has no pgvector; install"),
        ("0.8.2", "pgvector 0.8.2 is too old, 0.8.4 or newer is needed"),
    ],
)
def test_a_server_without_a_good_pgvector_is_refused_before_anything_is_made(
    server_with_pgvector: Callable[[str | None], str], version: str | None, says: str
) -> None:
    url = server_with_pgvector(version)
    with pytest.raises(DatabaseError, match=says):
        migrate.upgrade(url)
    assert objects(url) == []
