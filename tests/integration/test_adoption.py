"""A database from before the migrations were folded: taken over whole, or refused with a line."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import embedders, spaces
from pipeline.doctor.examination import examine
from pipeline.embedders.openclip.embedder import MultimodalEmbedder
from pipeline.errors import DatabaseError
from pipeline.postgres import migrate
from pipeline.postgres.adoption import converted
from pipeline.postgres.connections import Connection, connect, libpq_url
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.queue import status
from pipeline.queue.status import QueueCounts
from pipeline.settings import Settings
from tests.helpers.catalog import everything
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.spaces import fill

pytestmark = pytest.mark.usefixtures("dblink")  # which the dump has

# pg_dump's text of a database that the last thirteen migrations made: a space that is active with
# three items and one that is building, a failure, jobs, a query.
DUMP = Path(__file__).parent / "data" / "0013.sql"


@pytest.fixture
def old_url(server: EmbeddedServer, empty_url: str) -> str:
    """A database at revision 0013."""
    # The dump is of 18; what it sets first is unknown before 17.
    dump = DUMP.read_text().replace("SET transaction_timeout = 0;\n", "")
    subprocess.run(
        [server.binary("psql"), "-Xqo", "/dev/null", "-v", "ON_ERROR_STOP=1", libpq_url(empty_url)],
        input=dump,
        text=True,
        check=True,
    )
    return empty_url


@pytest.fixture
def old(old_url: str) -> Iterator[Connection]:
    with connect(old_url) as connection:
        yield connection


def rows(connection: Connection, query: str) -> list[tuple[object, ...]]:
    return connection.execute(query.encode()).fetchall()


KEPT = {
    "source_items": "SELECT id, source, source_key, modality, content_ref, metadata, created_at, "
    "updated_at FROM source_items ORDER BY id",
    "jobs": "SELECT space_id, source_id, state, attempts, error_code, error, run_after, "
    "leased_until, worker, version FROM ingest_jobs ORDER BY space_id, source_id",
    "items": "SELECT id, source_id, content_ref, embedding FROM multimodal_items ORDER BY id",
    "items of the other space": "SELECT id, source_id, part, modality, content_ref, metadata, "
    "space_id, content_sha256, embedding, embedded_at FROM multimodal_items_text_s2 ORDER BY id",
    "queries": "SELECT space_id, query_sha256, query, embedding, error, requested_at, embedded_at, "
    "last_used_at, claimed_until FROM query_embeddings",
    "roots": "SELECT * FROM media_roots",
}


def test_a_database_at_0013_is_taken_over_with_all_that_is_in_it(
    old_url: str, old: Connection
) -> None:
    before = {name: rows(old, query) for name, query in KEPT.items()}
    migrated = migrate.upgrade(old_url)
    assert (migrated.adopted, migrated.installed) == (True, True)
    assert migrate.current(old_url)[0] == migrate.current(old_url)[1]
    assert {name: rows(old, query) for name, query in KEPT.items()} == before
    found = rows(old, "SELECT content_ref FROM search_items('a red bicycle', k => 3)")
    assert {ref for (ref,) in found} == {"a red bicycle", "a boat at night", "/media/bicycle.png"}
    assert rows(old, "SELECT text_embedding('a red bicycle') = embedding FROM multimodal_items "
                     "WHERE id = 1") == [(True,)]  # fmt: skip
    assert migrate.upgrade(old_url) == migrate.Migrated()


def test_it_is_then_as_if_made_by_the_folded_migrations(
    old_url: str, old: Connection, new_database: Callable[[], str]
) -> None:
    migrate.upgrade(old_url)
    fresh_url = new_database()
    migrate.upgrade(fresh_url)
    with connect(fresh_url) as fresh:
        # Spaces that are there keep their graph.
        graph = {"hnsw_m": 16, "hnsw_ef_construction": 64}
        space = spaces.create(fresh, "fake", FakeEmbedder(), **graph)
        spaces.activate(fresh, space)
        spaces.create(fresh, "second", FakeEmbedder(12))
        assert everything(old) == everything(fresh)
        known = "SELECT * FROM known_modalities ORDER BY name"
        assert rows(old, known) == rows(fresh, known)
        installed = "SELECT sha256, roles, objects FROM installed_sql"
        assert rows(old, installed) == rows(fresh, installed)


def test_what_its_spaces_say_of_their_models_is_in_the_form_of_today(
    old_url: str, old: Connection
) -> None:
    migrate.upgrade(old_url)
    for space in spaces.list_spaces(old):
        described = embedders.described(space.description)
        assert described.kind == "openclip"
        assert described.as_dict() == space.description
        assert described.fingerprint() == space.fingerprint


def test_a_real_models_description_of_then_is_that_of_now() -> None:
    model = MultimodalEmbedder("demo", device="cpu", precision="float32").description
    then = {"logit_bias": None, "normalisation": "l2"} | model.as_dict()
    del then["kind"]
    assert converted(then) == (model.as_dict(), model.fingerprint())


def test_its_queue_goes_on_where_it_was(old_url: str, old: Connection, settings: Settings) -> None:
    migrate.upgrade(old_url)
    settings = settings.model_copy(update={"database_url": type(settings.database_url)(old_url)})
    add_texts(old, ["and a new one"], source="new")
    space = spaces.active_space(old)
    assert status.counts(old, space.id) == QueueCounts(2, 2, 0, 1)
    assert fill(settings, space, FakeEmbedder()).done == 2
    assert status.counts(old, space.id) == QueueCounts(0, 0, 0, 1)
    old.execute("DELETE FROM source_items WHERE content_ref = 'a boat at night'")
    assert rows(old, "SELECT count(*) FROM multimodal_items_text_s2") == [(1,)]
    failing = {check.name for check in examine(settings) if not check.ok}
    assert failing <= {"coverage", "statistics text", "hnsw.ef_search", "hnsw.iterative_scan"}


def test_a_users_view_on_ours_stays(old_url: str, old: Connection) -> None:
    old.execute("CREATE VIEW far AS SELECT space, modality, items FROM ingest_status")
    old.execute("CREATE VIEW seen AS SELECT id, picture FROM item_catalog")
    migrate.upgrade(old_url)
    assert rows(old, "SELECT items FROM far WHERE space = 'fake' ORDER BY modality") == [(1,), (2,)]
    assert rows(old, "SELECT count(*) FROM seen") == [(3,)]


@pytest.mark.parametrize(
    ("damage", "lacks"),
    [
        ("ALTER TABLE ingest_jobs DROP COLUMN worker CASCADE", "column ingest_jobs.worker text"),
        ("ALTER TABLE source_items ALTER metadata TYPE json USING metadata::json",
         "column source_items.metadata jsonb not null"),
        ("ALTER TABLE source_items DROP CONSTRAINT source_items_source_key_unique",
         "constraint source_items.source_items_source_key_unique UNIQUE"),
        ("DROP INDEX ingest_jobs_pending", "index CREATE INDEX ingest_jobs_pending"),
        ("DROP TABLE space_tunings CASCADE", "column space_tunings.ef_search"),
        ("DROP TYPE hybrid_match CASCADE", "column hybrid_match.content_ref text"),
    ],
)  # fmt: skip
def test_one_that_is_not_what_0013_made_is_refused_and_left_alone(
    old_url: str, old: Connection, damage: str, lacks: str
) -> None:
    if "metadata" in damage:
        old.execute("DROP INDEX source_items_document")
        old.execute("DROP VIEW item_catalog")
    old.execute(damage.encode())
    before = everything(old)
    with pytest.raises(DatabaseError, match="at revision 0013, but not as that made it") as caught:
        migrate.upgrade(old_url)
    assert lacks in str(caught.value)
    assert everything(old) == before
    assert rows(old, "SELECT version_num FROM alembic_version") == [("0013",)]


def test_what_the_user_added_to_our_tables_is_no_damage(old_url: str, old: Connection) -> None:
    old.execute("ALTER TABLE source_items ADD COLUMN shop text")
    old.execute("CREATE INDEX ON source_items (shop)")
    assert migrate.upgrade(old_url).adopted


@pytest.mark.parametrize("revision", ["0001", "0007", "0012"])
def test_an_earlier_one_is_refused_with_a_line(
    old_url: str, old: Connection, revision: str
) -> None:
    old.execute("UPDATE alembic_version SET version_num = %s", (revision,))
    before = everything(old)
    with pytest.raises(DatabaseError, match=f"at revision {revision}, from before .*to 0013"):
        migrate.upgrade(old_url)
    assert everything(old) == before


def test_it_can_be_removed_as_any_other(old_url: str, old: Connection) -> None:
    migrate.downgrade(old_url, "base")
    assert everything(old) == []
