"""The migrations: forwards, backwards, by both commands, and the same tables as the ORM's."""

import hashlib
import itertools
import re
import subprocess
import sys
import tempfile
import time
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
from pipeline.postgres.locks import exclusively
from pipeline.postgres.migrate import MIGRATION_LOCK, Migrated
from tests.helpers.catalog import everything
from tests.helpers.fakes import FakeEmbedder

ROOT = Path(__file__).parents[2]
VERSIONS = sorted((ROOT / "migrations/versions").glob("*.py"))
# Frozen once released: databases have been through these very texts. Until the first release they
# may change, and the sums with them; after it a change is a new migration.
FROZEN = {
    "pipeline_0001_source_items": (
        "9c0177d54fc45ee415778d33f0645289ac34dcbb79d9f3622403637091668c52"
    ),
    "pipeline_0002_embedding_spaces": (
        "a79b00e6dcbbee489fda73bfc558ee11796ed40b676ca993a25dc30e21ff786d"
    ),
    "pipeline_0003_multimodal_items": (
        "d3f0230c5290bc3eca435cfd7868e8f6f26ac6645e880b05b373e6b53eb908b5"
    ),
    "pipeline_0004_ingest_jobs": (
        "e15ff083d235ff94b472f708c213987ffefdf02bc00cf9113737099e9a3f032c"
    ),
    "pipeline_0005_query_embeddings": (
        "ab4d595179e10ebb5402fc122cf486c8400a0266f7b3cf9a73f7f991e695fa58"
    ),
    "pipeline_0006_installed_sql": (
        "93fd0ce2cd280977e4db2ca9e1f06c8f83451d8192cbce2ef768e578afc98f65"
    ),
    "pipeline_0007_query_servers": (
        "208aa8f897b3210ae32eed4d64e90fcda237bea30f436f7b0ce0bd666c2eecb9"
    ),
    "pipeline_0008_content_changed": (
        "5d9e02edb70c9565b4e6049cb1ad2174c0aab5bb361c7cf5046a28415d0efdc1"
    ),
    "pipeline_0009_query_files": (
        "1540bfdda9f8222c1b4f80d42741e5c88dd0ecdd660ea3b27a821f373cbc6e39"
    ),
    "pipeline_0010_deleted_items": (
        "f518ac74a3f37dda5781d1b94e107db75ad3cd877cae9d18f84cce644afbe5c7"
    ),
    "pipeline_0011_attached_sources": (
        "c10d1a7d9a6b3e3fa7881edc5f9c7d3159ac8b35b5b75ef907cf659f972147e6"
    ),
    "pipeline_0012_attached_seen": (
        "4579cee102980c8ad256c2b367676d7ba60f8d76b3fe4c45a83758b21d7c5601"
    ),
    "pipeline_0013_recall": ("1495408ec78cab1897991d3ea8cf02317b90d6ff56f7378847531b139a669893"),
    "pipeline_0014_compact_index": (
        "305a3d51f95fb8fc893e1584ae1118b754d2d1a491447a2e61f5e04e0d4b5855"
    ),
    "pipeline_0015_paused": ("2dad129ca9beca2945615174b816ad5d60d4c31ea4e520f06657aeee25b181f5"),
    "pipeline_0016_derived": ("e865783b25ba7da21ecced8fd3c90e341b641cffee82840e9d57b40269dfc08b"),
    "pipeline_0017_probe_roles": (
        "8568336cf3c33405f3342bec578b6252eecba04ffb03f844be4bd425abf7dc33"
    ),
    "pipeline_0018_ingest_runs": (
        "9e9b5553da45eec81419c72e606a0e96bda79d35fa35a4e6bddac2480274ac42"
    ),
    "pipeline_0019_ingest_workers": (
        "b5b51795b4d99ee42623dc46d91bcb15618ece12f11641464a020d58ff1ed4c3"
    ),
}


def revisions() -> list[str]:
    return [path.stem for path in VERSIONS]


def contents(url: str) -> list[str]:
    with connect(url) as connection:
        return everything(connection)


def test_the_migrations_are_those_that_were_released() -> None:
    found = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in VERSIONS}
    assert found == FROZEN


def test_no_name_of_ours_can_be_taken_for_an_applications() -> None:
    """Alembic's table keeps 32 characters of it."""
    for path in VERSIONS:
        assert re.fullmatch(r"pipeline_\d{4}_[a-z_]+", path.stem)
        assert len(path.stem) <= 32
        assert f'revision = "{path.stem}"' in path.read_text()


def test_upgrade_then_downgrade_leaves_nothing_behind(empty_url: str) -> None:
    before = contents(empty_url)
    assert migrate.upgrade(empty_url).revisions == revisions()
    after = contents(empty_url)
    with connect(empty_url) as connection:
        spaces.create(connection, "kept_detached", FakeEmbedder())
    assert migrate.downgrade(empty_url, "base").revisions == revisions()[::-1]
    assert contents(empty_url) == before == []
    migrate.upgrade(empty_url)
    assert contents(empty_url) == after


def test_each_step_can_be_undone_and_done_again(empty_url: str) -> None:
    for previous, revision in itertools.pairwise(["base", *revisions()]):
        migrate.upgrade(empty_url, revision)
        after = contents(empty_url)
        migrate.downgrade(empty_url, previous)
        migrate.upgrade(empty_url, revision)
        assert contents(empty_url) == after, f"revision {revision} is not reversible"


def test_a_second_upgrade_does_nothing(url: str) -> None:
    assert migrate.upgrade(url) == Migrated()
    assert migrate.current(url) == (revisions()[-1], revisions()[-1])


def test_an_older_schema_has_tables_alone_and_a_newer_one_all_of_it_again(url: str) -> None:
    whole = contents(url)
    migrate.downgrade(url, revisions()[-2])
    older = contents(url)
    assert not [line for line in older if line.startswith(("routine", "view", "trigger"))]
    # The roles keep their rights on tables: their members would have to be made such again.
    assert [line for line in older if "pipeline_ingest" in line]
    assert [line for line in older if line.startswith("relation multimodal_items ")]
    assert migrate.upgrade(url) == Migrated(revisions=revisions()[-1:], installed=True)
    assert contents(url) == whole


def test_what_is_the_users_stays_and_stands_in_the_way_where_it_depends_on_ours(
    empty_url: str,
) -> None:
    migrate.upgrade(empty_url)
    with connect(empty_url) as connection:
        connection.execute(
            """
            CREATE TABLE orders (id bigint PRIMARY KEY, item bigint);
            CREATE FUNCTION text_embedding(bigint) RETURNS bigint LANGUAGE sql RETURN $1;
            CREATE VIEW how_far AS SELECT space, pending FROM ingest_status;
            """
        )
    before = contents(empty_url)
    with pytest.raises(DatabaseError, match=r"how_far depends on view public\.ingest_status; drop"):
        migrate.downgrade(empty_url, "base")
    assert contents(empty_url) == before
    with connect(empty_url) as connection:
        connection.execute("DROP VIEW how_far")
    migrate.downgrade(empty_url, "base")
    left = contents(empty_url)
    assert [line.split()[1] for line in left if line.startswith("relation")] == ["orders"]
    assert [line for line in left if line.startswith("routine") and "(bigint)" in line]


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


def alembic(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=ROOT,
        env={"DATABASE_URL": url, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_alembic_itself_works_from_the_checkout(empty_url: str) -> None:
    up, check, down = ["upgrade", "head"], ["check"], ["downgrade", "base"]
    for arguments in (up, check, down, up, check, ["current"]):
        done = alembic(empty_url, *arguments)
        assert done.returncode == 0, done.stderr
    with connect(empty_url) as connection:
        connection.execute("SELECT count(*) FROM ingest_status")
        connection.execute("UPDATE installed_sql SET sha256 = 'of another text'")
        # What only looks changes nothing, even where something is to be done.
        for arguments, remains in ((check, True), (["current"], True), (up, False)):
            assert alembic(empty_url, *arguments).returncode == 0
            row = connection.execute("SELECT sha256 = 'of another text' FROM installed_sql")
            assert row.fetchone() == (remains,)


def test_several_that_start_together_migrate_once(empty_url: str) -> None:
    program = (
        "import sys; from pipeline.postgres import migrate; print(migrate.upgrade(sys.argv[1]))"
    )
    with connect(empty_url) as connection, exclusively(connection, MIGRATION_LOCK):
        running = [
            subprocess.Popen(
                [sys.executable, "-c", program, empty_url], stdout=subprocess.PIPE, text=True
            )
            for _ in range(3)
        ]
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND query ~ 'try_advisory' AND state = 'idle in transaction' AND pid NOT IN ("
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory')"
        )
        until = time.monotonic() + 60
        while connection.execute(waiting).fetchone() != (3,):
            assert time.monotonic() < until
            time.sleep(0.05)
    outputs = [process.communicate(timeout=60)[0].strip() for process in running]
    assert sorted(outputs) == ["migrated", "up to date", "up to date"]


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
                if connection.info.server_version < 180000:
                    pytest.skip("extension_control_path, which hides pgvector, came with 18")
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
    assert contents(url) == []
