"""The functions as the migrations install them: whole, documented, and never changed silently."""

import hashlib
import re
from pathlib import Path

from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect

ROOT = Path(__file__).parents[2]
FUNCTIONS = sorted((ROOT / "sql" / "functions").glob("*.sql"))
INSTALLERS = [
    path
    for path in sorted((ROOT / "migrations" / "versions").glob("*.py"))
    if "FUNCTIONS_SHA256 = " in path.read_text()
]


def test_the_newest_installing_migration_knows_these_very_functions() -> None:
    """Before the first release: put the new sum into the migration. After it: a new migration
    that installs the files again and holds their sum, or databases never get the change."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in FUNCTIONS)).hexdigest()
    assert f'FUNCTIONS_SHA256 = "{digest}"' in INSTALLERS[-1].read_text()


def test_the_downgrade_names_every_function() -> None:
    create = re.compile(r"^CREATE OR REPLACE (?:FUNCTION|PROCEDURE) (\w+)\(", re.M)
    made = {name for path in FUNCTIONS for name in create.findall(path.read_text())}
    named = set(re.findall(r'^    "(\w+)",$', INSTALLERS[0].read_text(), re.M))
    assert made == named


def test_what_runs_with_its_owners_rights_has_a_fixed_path_and_is_not_for_everybody(
    connection: Connection,
) -> None:
    found = connection.execute(
        """
        SELECT oid::regprocedure::text, coalesce(array_to_string(proconfig, ';'), ''),
               has_function_privilege('public', oid, 'EXECUTE')
        FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND prosecdef
          AND prorettype <> 'trigger'::regtype
          AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')
        """
    ).fetchall()
    assert len(found) >= 8
    for name, config, for_everybody in found:
        assert re.search(r"search_path=public, pg_temp", config), name
        assert not for_everybody, name


def test_another_schema_than_public_works(empty_url: str) -> None:
    with connect(empty_url) as connection:
        connection.execute("CREATE SCHEMA shop")
        connection.execute("CREATE EXTENSION vector")
        connection.execute(
            f"ALTER DATABASE {connection.info.dbname} SET search_path = shop, public".encode()
        )
    migrate.upgrade(empty_url)
    with connect(empty_url) as connection:
        connection.execute("SET search_path = nowhere, public")
        row = connection.execute("SELECT count(*) FROM shop.ingest_status").fetchone()
        assert row == (0,)
        config = connection.execute(
            "SELECT proconfig[1] FROM pg_proc WHERE proname = 'search_items'"
        ).fetchone()
    assert config == ("search_path=shop, public, pg_temp",)
    assert "0001" in migrate.downgrade(empty_url, "base")
