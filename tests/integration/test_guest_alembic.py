"""An application with an Alembic of its own in the same database: neither disturbs the other."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import spaces
from pipeline.errors import ConfigurationError
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.migrate import Migrated
from tests.helpers.command import pipeline as command
from tests.helpers.fakes import FakeEmbedder

ROOT = Path(__file__).parents[2]

ENV = """
import os
from alembic import context
from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table, Text, create_engine

from pipeline.integrations.alembic import include_object
from pipeline.models import Base, SourceItem

metadata = MetaData()
keyed = "{keyed}" == "True"
columns = [Column("source", ForeignKey(SourceItem.id, ondelete="SET NULL"))] if keyed else []
Table("products", metadata, Column("id", Integer, primary_key=True), Column("name", Text), *columns)

url = os.environ["APP_URL"].replace("postgresql", "postgresql+psycopg", 1)
with create_engine(url).connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=[metadata, Base.metadata] if {beside} else metadata,
        include_object=include_object,
        include_schemas={include_schemas},
    )
    with context.begin_transaction():
        context.run_migrations()
"""

REVISION = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = {revision!r}, None

def upgrade():
    op.create_table(
        "products", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.Text)
    )

def downgrade():
    op.drop_table("products")
"""


class Application:
    """Its migrations in a folder, and its Alembic."""

    def __init__(self, folder: Path, url: str, revision: str) -> None:
        self.folder, self.url, self.revision = folder, url, revision
        (folder / "versions").mkdir(parents=True)
        (folder / "versions" / f"{revision}_products.py").write_text(
            REVISION.format(revision=revision)
        )
        (folder / "script.py.mako").write_text((ROOT / "migrations/script.py.mako").read_text())
        (folder / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s\n")
        self.set_up()

    def set_up(
        self, *, beside: bool = False, include_schemas: bool = False, keyed: bool = False
    ) -> None:
        """``beside``: whether our metadata stand beside its own."""
        text = ENV.format(beside=beside, include_schemas=include_schemas, keyed=keyed)
        (self.folder / "env.py").write_text(text)

    def alembic(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "alembic", *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "APP_URL": self.url, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def upgrade(self, **environment: str) -> None:
        done = self.alembic("upgrade", "head", **environment)
        assert done.returncode == 0, done.stderr

    def version(self) -> list[str]:
        """What its table says."""
        with connect(self.url) as connection:
            return [v for (v,) in connection.execute("SELECT version_num FROM alembic_version")]

    def differences(self, **environment: str) -> list[str]:
        """What autogenerate would do; nothing where `alembic check` is content."""
        done = self.alembic("check", **environment)
        if done.returncode == 0:
            return []
        assert "New upgrade operations detected" in done.stdout, done.stderr
        return re.findall(r"'(add_\w+|remove_\w+|modify_\w+)'", done.stdout)


MakeApplication = Callable[..., Application]


@pytest.fixture
def application(tmp_path: Path, empty_url: str) -> MakeApplication:
    def make(revision: str = "0013", url: str = empty_url) -> Application:
        return Application(tmp_path / "application", url, revision)

    return make


def make_space(connection: Connection) -> None:
    space = spaces.create(connection, "fake", FakeEmbedder())
    spaces.activate(connection, space)
    spaces.create(connection, "second", FakeEmbedder(12))  # detached tables as well


@pytest.mark.parametrize("revision", ["0001", "0013", "4f1d20a8c9be", "pipeline_of_ours"])
@pytest.mark.parametrize("first", ["application", "pipeline"])
def test_both_migrate_in_either_order_and_each_keeps_its_own_row(
    application: MakeApplication, empty_url: str, revision: str, first: str
) -> None:
    app = application(revision)
    if first == "application":
        app.upgrade()
    migrated = migrate.upgrade(empty_url)
    assert migrated.revisions
    assert not migrated.adopted
    app.upgrade()
    assert migrate.upgrade(empty_url) == Migrated()
    assert app.version() == [revision]
    assert migrate.current(empty_url)[0] == migrate.current(empty_url)[1]
    with connect(empty_url) as connection:
        connection.execute("SELECT count(*) FROM products, source_items")
    migrate.downgrade(empty_url, "base")
    assert app.version() == [revision]
    assert app.alembic("downgrade", "base").returncode == 0


@pytest.mark.parametrize("host", [[], ["0013"], ["4f1d20a8c9be"]])
def test_a_revision_of_ours_in_the_shared_table_moves_and_the_applications_stays(
    empty_url: str, host: list[str]
) -> None:
    migrate.upgrade(empty_url)
    _, head = migrate.current(empty_url)
    with connect(empty_url) as connection:
        connection.execute("ALTER TABLE pipeline_alembic_version RENAME TO alembic_version")
        connection.execute("INSERT INTO alembic_version SELECT unnest(%s::text[])", (host,))
        assert migrate.current(empty_url) == (head, head)
        assert migrate.upgrade(empty_url) == Migrated(adopted=True)
        assert migrate.current(empty_url) == (head, head)
        assert migrate.upgrade(empty_url) == Migrated()
        if host:
            left = connection.execute("SELECT version_num FROM alembic_version").fetchall()
            assert [version for (version,) in left] == host
        else:
            row = connection.execute("SELECT to_regclass('alembic_version')").fetchone()
            assert row == (None,)


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "our metadata beside"])
@pytest.mark.parametrize("include_schemas", [False, True])
@pytest.mark.parametrize("schema", ["public", "shop"])
def test_its_autogenerate_does_nothing_to_ours(
    application: MakeApplication,
    empty_url: str,
    beside: bool,
    include_schemas: bool,
    schema: str,
) -> None:
    app = application()
    app.set_up(beside=beside, include_schemas=include_schemas)
    app.upgrade(PIPELINE_SCHEMA=schema)
    assert app.differences(PIPELINE_SCHEMA=schema) == []  # before there is anything of ours
    migrate.upgrade(empty_url, schema=schema)
    with connect(empty_url, schema=schema) as connection:
        make_space(connection)
    assert app.differences(PIPELINE_SCHEMA=schema) == []
    done = app.alembic("revision", "--autogenerate", "-m", "nothing", PIPELINE_SCHEMA=schema)
    assert done.returncode == 0, done.stderr
    (made,) = (app.folder / "versions").glob("*_nothing.py")
    assert "op." not in made.read_text()


@pytest.mark.parametrize("include_schemas", [False, True])
@pytest.mark.parametrize("schema", ["public", "shop"])
def test_its_autogenerate_does_nothing_to_what_is_made_for_an_attached_table(
    application: MakeApplication, empty_url: str, include_schemas: bool, schema: str
) -> None:
    app = application()
    app.set_up(include_schemas=include_schemas)
    app.upgrade(PIPELINE_SCHEMA=schema)
    migrate.upgrade(empty_url, schema=schema)
    with connect(empty_url, schema=schema) as connection:
        make_space(connection)
        connection.execute(
            "SELECT attach_source('public.products', "
            """'{"name": {"modality": "text", "content": "name"}}')"""
        )
        made = "SELECT relname FROM pg_class WHERE relname ~ 'pipeline_source_|products_items'"
        assert connection.execute(made.encode()).rowcount == 2
    assert app.differences(PIPELINE_SCHEMA=schema) == []


UTILS = """
from alembic_utils.pg_view import PGView
from alembic_utils.replaceable_entity import register_entities

register_entities(
    [PGView(schema="public", signature="mine", definition="SELECT 1 AS one")], schemas=["public"]
)
"""


@pytest.mark.parametrize("schema", ["public", "shop"])
def test_nor_does_a_plug_in_that_compares_views_and_functions(
    application: MakeApplication, empty_url: str, schema: str
) -> None:
    pytest.importorskip("alembic_utils")
    app = application()
    app.upgrade(PIPELINE_SCHEMA=schema)
    environment = app.folder / "env.py"
    environment.write_text(UTILS + environment.read_text())
    migrate.upgrade(empty_url, schema=schema)
    with connect(empty_url, schema=schema) as connection:
        make_space(connection)
        connection.execute(
            "CREATE VIEW public.theirs AS SELECT 1 AS one; "
            "SELECT attach_source('public.products', "
            """'{"name": {"modality": "text", "content": "name"}}')"""
        )
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = app.alembic(
        "revision", "--autogenerate", "-m", "x", PIPELINE_SCHEMA=schema, PYTHONPATH=path
    )
    assert done.returncode == 0, done.stderr
    (made,) = (app.folder / "versions").glob("*_x.py")
    upgrade = made.read_text().partition("def upgrade")[2].partition("def downgrade")[0]
    # Its own alone: one to make, one that nobody declares.
    assert re.findall(r'signature="([^"]*)"', upgrade) == ["mine", "theirs"]
    assert re.findall(r"op\.(\w+)", upgrade) == ["create_entity", "drop_entity"], upgrade


def test_its_autogenerate_still_sees_its_own_tables(
    application: MakeApplication, empty_url: str
) -> None:
    app = application()
    app.upgrade()
    migrate.upgrade(empty_url, schema="shop")
    with connect(empty_url) as connection:
        # Of the name of one of ours, in its own schema.
        connection.execute("CREATE TABLE media_roots (id integer)")
        connection.execute("ALTER TABLE products DROP COLUMN name")
    found = app.differences(PIPELINE_SCHEMA="shop")
    assert sorted(found) == ["add_column", "remove_table"]


@pytest.mark.parametrize("there", [True, False], ids=["there", "to be made"])
def test_a_foreign_key_of_its_own_to_ours_is_compared(
    application: MakeApplication, empty_url: str, there: bool
) -> None:
    app = application()
    app.upgrade()
    migrate.upgrade(empty_url)
    app.set_up(keyed=True)
    with connect(empty_url) as connection:
        connection.execute("ALTER TABLE products ADD COLUMN source bigint")
        if there:
            connection.execute(
                "ALTER TABLE products ADD FOREIGN KEY (source) REFERENCES source_items (id) "
                "ON DELETE SET NULL"
            )
    assert app.differences() == ([] if there else ["add_fk"])


def test_a_schema_of_our_own_holds_all_that_is_ours(empty_url: str) -> None:
    listed = """
        SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
        UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        UNION ALL SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace
    """
    settings = (
        "SELECT entry FROM pg_db_role_setting, unnest(setconfig) AS entry WHERE setdatabase = "
        "(SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY entry"
    )
    migrate.upgrade(empty_url, schema="shop")
    with connect(empty_url, schema="shop") as connection:
        make_space(connection)
        assert connection.execute(listed.encode()).fetchall() == []
        set_on_database = connection.execute(settings.encode()).fetchall()
        assert [entry.partition("=")[0] for (entry,) in set_on_database] == [
            "hnsw.ef_search", "hnsw.iterative_scan",
        ]  # fmt: skip
    assert migrate.upgrade(empty_url, schema="shop") == Migrated()
    with pytest.raises(ConfigurationError, match="are in the schema shop; set PIPELINE_SCHEMA=sho"):
        migrate.upgrade(empty_url)
    migrate.downgrade(empty_url, "base", schema="shop")


def test_a_schema_that_is_not_that_of_the_tables_is_one_line(url: str, tmp_path: Path) -> None:
    for arguments in (["status"], ["migrate", "--no-space"], ["search", "x"], ["doctor"]):
        done = command(tmp_path, *arguments, DATABASE_URL=url, PIPELINE_SCHEMA="shop")
        said = done.stderr if arguments != ["doctor"] else done.stdout + done.stderr
        assert done.returncode == 1
        assert "set PIPELINE_SCHEMA=public" in said
        assert "Traceback" not in said


def test_a_script_for_an_administrator_is_refused_in_a_sentence(empty_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head", "--sql"],
        cwd=ROOT,
        env={"DATABASE_URL": empty_url, "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) != (0, "")
    assert "pg_dump --schema-only" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
