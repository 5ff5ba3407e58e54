"""A sync of an attached table that nobody wrote since compares no rows, and misses none."""

from collections.abc import Iterator

import psycopg
import pytest

from pipeline.postgres.connections import Connection, connect
from pipeline.sources.attached_sync import forget_seen
from pipeline.sources.attached_sync import sync as sync_by_batch
from tests.helpers.attached import attach, source_items, sync
from tests.helpers.databases import as_login

TITLE = {"title": {"modality": "text", "content": "title"}}
NOTES = "CREATE TABLE shop.notes (id integer PRIMARY KEY, title text, shown boolean DEFAULT true)"
PARTS = """
CREATE TABLE shop.notes (id integer PRIMARY KEY, title text, shown boolean DEFAULT true)
    PARTITION BY RANGE (id);
CREATE TABLE shop.low PARTITION OF shop.notes FOR VALUES FROM (0) TO (100);
CREATE TABLE shop.high (shown boolean DEFAULT true, gone text, title text, id integer NOT NULL);
ALTER TABLE shop.high DROP COLUMN gone;
ALTER TABLE shop.notes ATTACH PARTITION shop.high FOR VALUES FROM (100) TO (200);
"""


@pytest.fixture
def own(connection: Connection, url: str) -> Iterator[Connection]:
    with as_login(connection, url, "shopkeeper", "LOGIN IN ROLE pipeline_ingest") as own:
        connection.execute("CREATE SCHEMA shop AUTHORIZATION shopkeeper")
        yield own
        connection.execute(
            "SELECT detach_source(name) FROM attached_sources WHERE relation IS NOT NULL"
        )


def is_unchanged(own: Connection) -> bool:
    row = own.execute("SELECT is_unchanged FROM attached_seen(attached_source('notes'))").fetchone()
    assert row is not None
    return bool(row[0])


def tells_all(own: Connection) -> bool:
    row = own.execute("SELECT rows_tell_all(attached_source('notes'))").fetchone()
    assert row is not None
    return bool(row[0])


def followed(own: Connection, table: str = NOTES, capture: str = "scan", **more: object) -> None:
    """A table of three rows, synced until nothing is new."""
    own.execute(table.encode())
    own.execute("INSERT INTO shop.notes (id, title) VALUES (1, 'one'), (2, 'two'), (150, 'far')")
    attach(own, "shop.notes", TITLE, capture=capture, **more)
    assert sync(own, "notes") == (3, 0, 0)
    assert sync(own, "notes") == (0, 0, 0)
    assert is_unchanged(own)


CHANGES = [
    ("INSERT INTO shop.notes VALUES (3, 'three')", (1, 0, 0)),
    ("UPDATE shop.notes SET title = 'other' WHERE id = 1", (0, 1, 0)),
    ("DELETE FROM shop.notes WHERE id = 150", (0, 0, 1)),
    (
        "DELETE FROM shop.notes WHERE id = 1; INSERT INTO shop.notes VALUES (1, 'again')",
        (0, 1, 0),
    ),
    ("TRUNCATE shop.notes", (0, 0, 3)),
    ("DELETE FROM source_items WHERE source_key = '2'", (1, 0, 0)),
    ("UPDATE source_items SET content_ref = 'not so' WHERE source_key = '2'", (0, 1, 0)),
    (
        "INSERT INTO source_items (source, source_key, row_key, modality, content_ref) "
        "VALUES ('notes.title', '9', '9', 'text', 'nobody''s')",
        (0, 0, 1),
    ),
]


@pytest.mark.parametrize("table", [NOTES, PARTS], ids=["plain", "partitioned"])
@pytest.mark.parametrize(("change", "done"), CHANGES, ids=[change for change, _ in CHANGES])
def test_what_is_written_is_seen(
    own: Connection, table: str, change: str, done: tuple[int, int, int]
) -> None:
    followed(own, table)
    own.execute(change.encode())
    assert not is_unchanged(own)
    assert sync(own, "notes") == done
    assert sync(own, "notes") == (0, 0, 0)
    assert is_unchanged(own)


def test_what_is_not_committed_yet_is_seen_later(own: Connection, url: str) -> None:
    """By a transaction that began before the sync, and by one within it that is younger."""
    followed(own)
    with connect(url) as other, other.transaction():
        other.execute("SET LOCAL ROLE shopkeeper")
        other.execute("INSERT INTO shop.notes VALUES (3, 'three')")
        with other.transaction():
            other.execute("INSERT INTO shop.notes VALUES (4, 'four')")
        own.execute("CREATE TABLE shop.later ()")  # takes a number of its own
        assert sync(own, "notes") == (0, 0, 0)
    assert sync(own, "notes") == (2, 0, 0)


def test_rows_that_were_frozen_are_none_that_changed(own: Connection) -> None:
    followed(own)
    own.execute("VACUUM (FREEZE) shop.notes")
    assert is_unchanged(own)
    own.execute("CLUSTER shop.notes USING notes_pkey")
    assert is_unchanged(own)
    own.execute("UPDATE shop.notes SET title = 'other' WHERE id = 1")
    own.execute("VACUUM (FREEZE) shop.notes")
    assert sync(own, "notes") == (0, 1, 0)


def test_another_partition_of_as_many_rows_is_seen(own: Connection) -> None:
    own.execute(PARTS.encode())
    own.execute(
        "CREATE TABLE shop.spare (LIKE shop.notes); INSERT INTO shop.spare VALUES (150, 'new')"
    )
    own.execute("INSERT INTO shop.notes VALUES (1, 'one'), (150, 'far')")
    attach(own, "shop.notes", TITLE, capture="scan")
    sync(own, "notes")
    sync(own, "notes")
    assert is_unchanged(own)
    own.execute("ALTER TABLE shop.notes DETACH PARTITION shop.high")
    own.execute("ALTER TABLE shop.notes ATTACH PARTITION shop.spare FOR VALUES FROM (100) TO (200)")
    assert sync(own, "notes") == (0, 1, 0)


def test_a_copy_of_the_database_elsewhere_is_compared(
    own: Connection, connection: Connection
) -> None:
    """The numbers of transactions are those of one server."""
    followed(own)
    connection.execute(
        "UPDATE attached_sources SET seen = jsonb_set(seen, '{cluster}', '\"12345\"')"
    )
    assert not is_unchanged(own)
    connection.execute("UPDATE attached_sources SET seen = jsonb_set(seen, '{horizon}', '\"1\"')")
    assert not is_unchanged(own)


def test_a_problem_has_all_rows_compared(own: Connection) -> None:
    followed(own)
    own.execute("SELECT note_attached_problem(attached_source('notes'), 'it was said')")
    own.execute("UPDATE attached_sources SET synced_at = 'epoch'")
    sync(own, "notes")
    assert own.execute("SELECT count(*) FROM attached_source_problems").fetchone() == (0,)


def test_batches_skip_too_and_the_procedure_alone_does_not(own: Connection) -> None:
    followed(own)
    # What no sync would find: it is told that all was seen.
    own.execute("ALTER TABLE shop.notes ALTER COLUMN title SET STORAGE PLAIN")
    own.execute("UPDATE source_items SET content_ref = 'not so' WHERE source_key = '2'")
    own.execute("UPDATE attached_sources SET seen = (SELECT s.seen FROM attached_seen(id) AS s)")
    assert is_unchanged(own)
    assert sync_by_batch(own, "notes").changed == 0
    own.execute("CALL backfill_source('notes')")
    assert ("notes.title", "2", "text", "two") in source_items(own)


def test_a_sync_may_be_asked_to_compare_all(own: Connection) -> None:
    followed(own)
    own.execute("UPDATE source_items SET content_ref = 'not so' WHERE source_key = '2'")
    own.execute("UPDATE attached_sources SET seen = (SELECT s.seen FROM attached_seen(id) AS s)")
    forget_seen(own, "others")
    assert sync_by_batch(own, "notes").changed == 0
    forget_seen(own, "notes")
    assert sync_by_batch(own, "notes").changed == 1


MORE_THAN_THE_ROW = {
    "time": ("current_date::text || title", NOTES),
    "now": ("title || now()", NOTES),
    "a setting": ("title || current_setting('application_name')", NOTES),
    "who reads": ("title || session_user", NOTES),
    "a function of theirs": (
        "shop.shout(title)",
        f"{NOTES}; CREATE FUNCTION shop.shout(text) RETURNS text IMMUTABLE LANGUAGE sql "
        "AS 'SELECT upper($1)'",
    ),
    "an enum": (
        "kind::text",
        "CREATE TYPE shop.kind AS ENUM ('a'); CREATE TABLE shop.notes (id integer PRIMARY KEY, "
        "title text, kind shop.kind DEFAULT 'a')",
    ),
    "a domain": (
        "title",
        "CREATE DOMAIN shop.words AS text; CREATE TABLE shop.notes (id integer PRIMARY KEY, "
        "title shop.words)",
    ),
    "a cast to a domain": (
        "(title::shop.words)::text",
        f"{NOTES}; CREATE DOMAIN shop.words AS text CHECK (VALUE <> 'x')",
    ),
    "a name of a table": (
        "class::text",
        "CREATE TABLE shop.notes (id integer PRIMARY KEY, title text, "
        "class regclass DEFAULT 'pg_class')",
    ),
    "the whole row": ("to_jsonb(notes)::text", NOTES),
    "a virtual column": (
        "loud",
        "CREATE TABLE shop.notes (id integer PRIMARY KEY, title text, "
        "loud text GENERATED ALWAYS AS (upper(title)) VIRTUAL)",
    ),
    "the catalog": ("(SELECT min(c.relname)::text FROM pg_class AS c WHERE c.oid = id)", NOTES),
    "another table": (
        "(SELECT word FROM shop.words)",
        f"{NOTES}; CREATE TABLE shop.words (word text); INSERT INTO shop.words VALUES ('a')",
    ),
}


@pytest.mark.parametrize("case", MORE_THAN_THE_ROW)
def test_what_changes_by_itself_is_always_compared(own: Connection, case: str) -> None:
    expression, table = MORE_THAN_THE_ROW[case]
    own.execute(table.encode())
    own.execute("INSERT INTO shop.notes (id, title) VALUES (1, 'one')")
    attach(
        own, "shop.notes", {"title": {"modality": "text", "content": expression}}, capture="scan"
    )
    assert not tells_all(own)
    sync(own, "notes")
    assert own.execute("SELECT seen FROM attached_sources").fetchone() == (None,)


@pytest.mark.parametrize(
    "expression",
    [
        "title || ' ' || id",
        "concat_ws(' ', title, shown, id)",
        "to_jsonb(title) #>> '{}'",
        'lower(btrim(title)) COLLATE "C"',
        "CASE WHEN shown THEN format('%s: %s', id, title) ELSE coalesce(title, 'none') END",
        "array_to_string(string_to_array(title, ' '), ',')",
    ],
)
def test_what_is_usual_need_not_be_compared(own: Connection, expression: str) -> None:
    own.execute(NOTES.encode())
    attach(
        own,
        "shop.notes",
        {"title": {"modality": "text", "content": expression}},
        capture="scan",
        metadata="{id,shown}",
        filter="shown AND title LIKE 'a%'",
    )
    assert tells_all(own)


def test_a_view_and_a_foreign_part_are_always_compared(
    own: Connection, connection: Connection
) -> None:
    own.execute(NOTES.encode())
    own.execute("CREATE VIEW shop.seen AS SELECT * FROM shop.notes")
    attach(own, "shop.seen", TITLE, name="seen", key=["id"])
    assert own.execute("SELECT rows_tell_all(attached_source('seen'))").fetchone() == (False,)
    attach(own, "shop.notes", TITLE, capture="scan")
    assert tells_all(own)
    connection.execute(
        "CREATE EXTENSION IF NOT EXISTS file_fdw; "
        "CREATE SERVER files FOREIGN DATA WRAPPER file_fdw; "
        "CREATE FOREIGN TABLE shop.far () INHERITS (shop.notes) SERVER files "
        "OPTIONS (filename '/dev/null'); ALTER FOREIGN TABLE shop.far OWNER TO shopkeeper"
    )
    assert not tells_all(own)
    connection.execute("DROP SERVER files CASCADE")


def test_nobody_else_says_that_nothing_changed(
    own: Connection, connection: Connection, url: str
) -> None:
    """Whoever fills the pipeline may note a sync, and not what the owner's sync saw."""
    followed(own)
    own.execute("UPDATE shop.notes SET title = 'other' WHERE id = 1")
    with as_login(connection, url, "filler", "LOGIN IN ROLE pipeline_ingest") as other:
        other.execute("UPDATE attached_sources SET synced_at = now()")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="only the owner"):
            other.execute("UPDATE attached_sources SET seen = NULL")
    assert sync(own, "notes") == (0, 1, 0)
