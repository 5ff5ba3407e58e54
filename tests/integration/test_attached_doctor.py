"""The doctor finds what keeps an attached table from being followed, and names the cure."""

from collections.abc import Iterator

import pytest

from pipeline import Attachment, attach
from pipeline.doctor.attached import attached
from pipeline.doctor.check import Check
from pipeline.doctor.examination import examine
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect
from pipeline.settings import Settings
from pipeline.sources.attached_sync import sync
from pipeline.sources.attachments import Content
from tests.helpers.databases import role
from tests.helpers.other_server import own_server
from tests.helpers.processes import wait_until


def of(relation: str, **more: str) -> Attachment:
    return Attachment(relation, {"word": Content("text", "word")}, **more)


@pytest.fixture
def goods(connection: Connection) -> Connection:
    connection.execute("CREATE TABLE goods (id int PRIMARY KEY, word text)")
    attach(connection, of("goods"))
    sync(connection, "goods")
    return connection


def failing(connection: Connection) -> list[Check]:
    return [check for check in attached(connection) if not check.ok]


def the_only_one(connection: Connection) -> Check:
    found = failing(connection)
    assert len(found) == 1, found
    return found[0]


def test_one_that_is_followed_is_well(goods: Connection, settings: Settings) -> None:
    assert list(attached(goods)) == [Check("attached goods", True, "follows goods")]
    assert Check("attached goods", True, "follows goods") in examine(settings)


def test_one_that_needs_a_sync_says_why_and_for_how_long(goods: Connection) -> None:
    goods.execute("SELECT note_attached_problem(1, 'a bad day')")
    goods.execute("UPDATE attached_source_problems SET noted_at = now() - interval '3 hours'")
    check = the_only_one(goods)
    assert check.found == "needs a sync for 3 hours: a bad day"
    assert check.fix == "pipeline sync goods"
    sync(goods, "goods")
    assert failing(goods) == []


def test_a_table_that_is_gone(goods: Connection) -> None:
    goods.execute("DROP TABLE goods CASCADE")
    check = the_only_one(goods)
    assert (check.name, check.fix) == ("attached goods", "pipeline detach goods")
    assert "gone" in check.found


@pytest.mark.parametrize("capture", ["statement", "row"])
def test_triggers_that_are_off(goods: Connection, capture: str) -> None:
    goods.execute("CREATE TABLE others (id int PRIMARY KEY, word text)")
    attach(goods, of("others", capture=capture))
    sync(goods, "others")
    assert failing(goods) == []
    goods.execute("ALTER TABLE others DISABLE TRIGGER USER")
    check = the_only_one(goods)
    assert "on others are disabled" in check.found
    statements, _, command = check.fix.rpartition("; then ")
    assert command == "pipeline sync others"
    goods.execute(statements.encode())
    assert failing(goods) == []


def test_a_trigger_that_only_notices_counts_too(goods: Connection) -> None:
    goods.execute("ALTER TABLE goods DISABLE TRIGGER pipeline_source_1_noticed")
    assert "pipeline_source_1_noticed" in the_only_one(goods).fix


def test_row_triggers_that_replication_would_skip(goods: Connection) -> None:
    goods.execute("CREATE TABLE others (id int PRIMARY KEY, word text)")
    attach(goods, of("others", capture="row"))
    sync(goods, "others")
    goods.execute("ALTER TABLE others ENABLE TRIGGER pipeline_source_2_written")
    assert "ENABLE ALWAYS TRIGGER pipeline_source_2_written" in the_only_one(goods).fix


def test_triggers_that_are_missing(goods: Connection) -> None:
    goods.execute("DROP TRIGGER pipeline_source_1_insert ON goods")
    check = the_only_one(goods)
    assert check.found == "no trigger sees INSERT on goods"
    assert check.fix == "pipeline detach goods, then pipeline attach it again"


@pytest.mark.parametrize("capture", ["statement", "row"])
def test_a_partition_that_came_later(connection: Connection, capture: str) -> None:
    connection.execute(
        """
        CREATE TABLE parts (id int PRIMARY KEY, word text) PARTITION BY RANGE (id);
        CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (9)
        """
    )
    attach(connection, of("parts", capture=capture))
    sync(connection, "parts")
    assert failing(connection) == []
    connection.execute("CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (9) TO (99)")
    events = "TRUNCATE" if capture == "row" else "INSERT, UPDATE, DELETE, TRUNCATE"
    check = the_only_one(connection)
    assert check.found == f"no trigger sees {events} on parts_2"
    assert check.fix == "pipeline sync parts"
    sync(connection, "parts")
    assert failing(connection) == []


def test_an_owner_who_lost_the_right_to_write(connection: Connection) -> None:
    with role(connection, "shop_owner"):
        connection.execute("CREATE SCHEMA shop AUTHORIZATION shop_owner")
        connection.execute("CREATE TABLE shop.goods (id int PRIMARY KEY, word text)")
        connection.execute("ALTER TABLE shop.goods OWNER TO shop_owner")
        connection.execute("GRANT pipeline_ingest TO shop_owner")
        connection.execute("SET ROLE shop_owner")
        attach(connection, of("shop.goods"))
        sync(connection, "goods")
        connection.execute("RESET ROLE")
        assert failing(connection) == []
        connection.execute("REVOKE pipeline_ingest FROM shop_owner")
        check = the_only_one(connection)
        assert "shop_owner, who owns shop.goods, may not SELECT" in check.found
        connection.execute(check.fix.encode())
        assert failing(connection) == []
        connection.execute("SELECT detach_source('goods')")


def test_a_location_that_nobody_looks_at(connection: Connection) -> None:
    connection.execute(
        """
        INSERT INTO attached_sources
            (name, location, capture, sources, definition, synced_at, attached_at)
        VALUES ('pictures', '/pictures', 'scan', '{pictures}', '{"every_seconds": 900}',
            now() - interval '40 minutes', now() - interval '1 day')
        """
    )
    assert failing(connection) == []
    connection.execute("UPDATE attached_sources SET synced_at = now() - interval '5 hours'")
    check = the_only_one(connection)
    assert check.found == "is to be looked at every 15 minutes, and was 5 hours ago"
    assert check.fix == "pipeline sync --watch"


@pytest.fixture
def logical() -> Iterator[Connection]:
    """A database of a server whose WAL tells rows."""
    with own_server() as server:
        with connect(server.url(), schema=None) as admin:
            admin.execute("ALTER SYSTEM SET wal_level = logical")
        server.stop()
        server.start()
        migrate.upgrade(server.url(), old_pgvector=True)
        with connect(server.url()) as connection:
            yield connection


def test_slots_that_are_forgotten_missing_or_without_a_limit(logical: Connection) -> None:
    logical.execute("SELECT pg_create_logical_replication_slot('pipeline_source_1_7', 'pgoutput')")
    found = {check.name: check for check in failing(logical)}
    assert set(found) == {"slot pipeline_source_1_7", "max_slot_wal_keep_size"}
    logical.execute(found["slot pipeline_source_1_7"].fix.encode())
    assert failing(logical) == []

    logical.execute("CREATE TABLE goods (id int PRIMARY KEY, word text)")
    logical.execute(
        "INSERT INTO attached_sources (name, relation, capture, sources, definition, synced_at) "
        "VALUES ('goods', 'goods', 'logical', '{goods.word}', '{}', now())"
    )
    (slot,) = logical.execute("SELECT attached_slot(id) FROM attached_sources").fetchone() or ()
    found = {check.name: check for check in failing(logical)}
    assert found[f"slot {slot}"].fix == "pipeline sync goods"
    logical.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (slot,))
    check = the_only_one(logical)
    assert check.name == "max_slot_wal_keep_size"
    for statement in check.fix.split("; then "):
        logical.execute(statement.encode())
    wait_until(lambda: failing(logical) == [], "the limit")  # the server reads its file by itself
