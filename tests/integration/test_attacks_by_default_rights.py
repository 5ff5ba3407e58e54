"""What default privileges would give of schemas, and to our roles; what is given by name stays."""

import pytest

from pipeline import spaces
from pipeline.doctor.examination import examine
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect
from pipeline.settings import Settings
from tests.helpers.databases import role
from tests.helpers.fakes import FakeEmbedder

OURS = ("pipeline_analyst", "pipeline_ingest", "pipeline_owner")
RIGHTS = """
SELECT a.grantee::regrole::text || ' ' || c.relname || ' ' || a.privilege_type
FROM pg_class AS c CROSS JOIN aclexplode(c.relacl) AS a
WHERE c.relnamespace = 'public'::regnamespace AND a.grantee::regrole::text ~ '^pipeline_'
UNION ALL
SELECT a.grantee::regrole::text || ' ' || p.proname || ' ' || a.privilege_type
FROM pg_proc AS p CROSS JOIN aclexplode(p.proacl) AS a
WHERE p.pronamespace = 'public'::regnamespace AND a.grantee <> 0 AND p.prosecdef
  AND a.grantee::regrole::text ~ '^pipeline_'
"""


def rights(connection: Connection) -> set[str]:
    return {line for (line,) in connection.execute(RIGHTS).fetchall()}


def migrated(url: str) -> set[str]:
    """The rights of our roles in a database that is migrated, and has a space."""
    migrate.upgrade(url)
    with connect(url) as connection:
        spaces.activate(connection, spaces.create(connection, "fake", FakeEmbedder()))
        return rights(connection)


@pytest.mark.parametrize("kind", ["TABLES", "FUNCTIONS", "SEQUENCES"])
def test_default_privileges_give_our_roles_nothing(new_database: object, kind: str) -> None:
    """Whoever has TRIGGER on a table that our functions write acts as their owner."""
    plain, set_up = new_database(), new_database()  # type: ignore[operator]
    as_we_say = migrated(plain)
    with connect(set_up) as connection:
        to = ", ".join(OURS)
        connection.execute(f"ALTER DEFAULT PRIVILEGES GRANT ALL ON {kind} TO {to}".encode())
        assert migrated(set_up) == as_we_say


def test_default_privileges_on_schemas_give_nobody_a_right(empty_url: str) -> None:
    with connect(empty_url) as connection, role(connection, "anon"):
        connection.execute("ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO anon, PUBLIC")
        migrate.upgrade(empty_url, schema="pipeline")
        found = connection.execute(
            "SELECT has_schema_privilege('anon', 'pipeline', 'CREATE'), "
            "has_schema_privilege('anon', 'pipeline', 'USAGE'), "
            "has_schema_privilege('pipeline_analyst', 'pipeline', 'USAGE')"
        ).fetchone()
        assert found == (False, False, True)


def test_what_is_given_by_name_stays_whatever_default_privileges_say(empty_url: str) -> None:
    with connect(empty_url) as connection, role(connection, "report"):
        connection.execute("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO report")
        connection.execute("ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO report")
        migrate.upgrade(empty_url)
        asked = (
            "SELECT has_function_privilege('report', 'text_embedding(text, interval)', 'EXECUTE'),"
            " has_table_privilege('report', 'item_catalog', 'SELECT')"
        )
        assert connection.execute(asked.encode()).fetchone() == (False, False)
        connection.execute("GRANT EXECUTE ON FUNCTION text_embedding TO report")
        connection.execute("GRANT SELECT ON item_catalog TO report")
        connection.execute("UPDATE installed_sql SET sha256 = 'of an older release'")
        assert migrate.upgrade(empty_url).installed
        assert connection.execute(asked.encode()).fetchone() == (True, True)
        # A copy without its rights: there default privileges gave what there is.
        connection.execute("GRANT EXECUTE ON FUNCTION source_items_truncated() TO PUBLIC")
        assert migrate.upgrade(empty_url).installed
        assert connection.execute(asked.encode()).fetchone() == (False, False)


def test_doctor_knows_what_each_role_may(
    connection: Connection, url: str, settings: Settings
) -> None:
    def found() -> list[tuple[bool, str, str]]:
        return [(c.ok, c.found, c.fix) for c in examine(settings) if c.name == "tables"]

    assert [ok for ok, *_ in found()] == [True]
    for given in ("TRIGGER ON ingest_jobs", "SELECT ON query_embeddings", "UPDATE ON space_probes"):
        connection.execute(f"GRANT {given} TO pipeline_analyst".encode())
        ((ok, said, cure),) = found()
        assert (ok, "pipeline_analyst" in said) == (False, True)
        connection.execute(cure.encode())
        assert [ok for ok, *_ in found()] == [True]
    connection.execute("GRANT INSERT ON source_items TO pipeline_analyst")
    assert [ok for ok, *_ in found()] == [True]  # whom an application lets write
    connection.execute("REVOKE INSERT ON source_items FROM pipeline_analyst")


def test_doctor_names_who_may_create_in_our_schema(
    connection: Connection, settings: Settings
) -> None:
    def found() -> list[tuple[bool, str, str]]:
        return [(c.ok, c.found, c.fix) for c in examine(settings) if c.name == "schema"]

    with role(connection, "anon"):
        connection.execute("GRANT CREATE ON SCHEMA public TO anon")
        ((ok, said, cure),) = found()
        assert (ok, "anon" in said) == (False, True)
        connection.execute(cure.encode())
        assert [ok for ok, *_ in found()] == [True]


def test_doctor_names_whose_our_schema_is(connection: Connection, settings: Settings) -> None:
    with role(connection, "host"):
        connection.execute("ALTER SCHEMA public OWNER TO host")
        (check,) = [c for c in examine(settings) if c.name == "schema"]
        assert (check.ok, "host" in check.found) == (False, True)
        connection.execute(check.fix.encode())
        assert [c.ok for c in examine(settings) if c.name == "schema"] == [True]
