"""Spaces on a real database: created, filled, activated, rolled back, dropped, refused."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from pipeline import spaces
from pipeline.errors import ConfigurationError, ModelError, SpaceError
from pipeline.postgres.connections import Connection, connect
from pipeline.queue import status
from pipeline.settings import Settings
from pipeline.spaces import Coverage, Space
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.spaces import add_images, described, fill, second_space

TEXTS = [f"text number {n}" for n in range(60)]


@pytest.fixture
def filled(settings: Settings, space: Space, connection: Connection, tmp_path: Path) -> Space:
    """The active space with 60 texts and 5 pictures in it."""
    add_texts(connection, TEXTS)
    add_images(connection, tmp_path, 5)
    fill(settings, space, FakeEmbedder())
    return space


@pytest.fixture
def second(settings: Settings, connection: Connection, filled: Space) -> Space:
    """A second space of 12 dimensions, complete and indexed."""
    space = second_space(connection)
    fill(settings, space, FakeEmbedder(12))
    spaces.build_indexes(connection, space)
    return space


def items(connection: Connection) -> tuple[int, set[int]]:
    """How many items the table shows, and of which dimensions."""
    rows = connection.execute("SELECT vector_dims(embedding) FROM multimodal_items").fetchall()
    return len(rows), {dims for (dims,) in rows}


def test_a_new_space_has_a_job_per_source_row_and_changes_nothing_else(
    connection: Connection, filled: Space
) -> None:
    space = second_space(connection)
    assert (space.state, space.dimensions, str(space.column_type.as_string())) == (
        "building",
        12,
        '"halfvec"(12)',
    )
    assert status.counts(connection, space.id).pending == 65
    assert spaces.coverage(connection, space) == Coverage(65, 0, 65, 0, 0, 0)
    assert items(connection) == (65, {8})


def test_activating_swaps_every_item_and_rolling_back_brings_them_back(
    connection: Connection, filled: Space, second: Space
) -> None:
    now = spaces.activate(connection, second)
    assert (now.state, now.name) == ("active", "second")
    assert items(connection) == (65, {12})
    assert spaces.get_space(connection, "fake").state == "retired"
    assert spaces.rollback(connection).name == "fake"
    assert items(connection) == (65, {8})
    assert spaces.rollback(connection).name == "second"
    assert items(connection) == (65, {12})


def test_activating_the_active_space_changes_nothing(connection: Connection, filled: Space) -> None:
    query = "SELECT xmin::text FROM embedding_spaces"
    before = connection.execute(query).fetchall()
    assert spaces.activate(connection, filled) == spaces.active_space(connection)
    assert connection.execute(query).fetchall() == before


def test_the_index_of_the_active_space_serves_the_parent_table(
    connection: Connection, second: Space
) -> None:
    spaces.activate(connection, second)
    with connection.transaction():
        connection.execute("SET LOCAL enable_seqscan = off")
        connection.execute("SET LOCAL enable_sort = off")  # before 18 the former is a mere cost
        plan = connection.execute(
            "EXPLAIN SELECT id FROM multimodal_items WHERE modality = 'text' ORDER BY embedding "
            "<=> (SELECT embedding FROM multimodal_items WHERE modality = 'text' LIMIT 1) LIMIT 5"
        ).fetchall()
    assert any(second.index_name("text") in line for (line,) in plan)
    valid = connection.execute(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'multimodal_items_embedding'::regclass"
    ).fetchone()
    assert valid == (True,)


def test_rows_that_change_while_a_space_is_built_reach_both_spaces(
    settings: Settings, connection: Connection, second: Space, filled: Space
) -> None:
    connection.execute("UPDATE source_items SET content_ref = 'changed' WHERE source_key = '1'")
    connection.execute("DELETE FROM source_items WHERE source_key = '2'")
    add_texts(connection, ["added"], source="later")
    assert spaces.coverage(connection, second) == Coverage(65, 63, 2, 0, 0, 0)
    for space, embedder in ((filled, FakeEmbedder()), (second, FakeEmbedder(12))):
        fill(settings, space, embedder)
    query = "SELECT content_ref FROM multimodal_items WHERE modality = 'text' ORDER BY 1"
    before = connection.execute(query).fetchall()
    spaces.activate(connection, second)
    assert connection.execute(query).fetchall() == before
    texts = [text for (text,) in before]
    assert {"changed", "added"} <= set(texts)
    assert not {"text number 0", "text number 1"} & set(texts)


def test_a_delete_reaches_every_space_in_use_or_not(
    settings: Settings, connection: Connection, second: Space, filled: Space
) -> None:
    """Erasure: what is deleted is in no retired and in no unfinished space either."""
    fill(settings, second, FakeEmbedder(12))
    spaces.activate(connection, second)  # now the first is retired
    third = second_space(connection, 16, "third")
    fill(settings, third, FakeEmbedder(16))
    connection.execute("UPDATE source_items SET content_ref = content_ref || '!'")  # jobs, too
    connection.execute("DELETE FROM source_items WHERE source_key = '2'")

    def stored(space: Space) -> set[str]:
        rows = connection.execute(
            sql.SQL(
                "SELECT DISTINCT s.source_key FROM {} AS i LEFT JOIN source_items AS s "
                "ON s.id = i.source_id"
            ).format(space.table("text"))
        ).fetchall()
        return {key for (key,) in rows}

    for space in (filled, second, third):
        assert None not in stored(space), f"an item of the deleted row is left in {space.name}"
        assert len(stored(space)) == 59
        assert status.counts(connection, space.id).pending == 64
    connection.execute("TRUNCATE source_items")
    for space in (filled, second, third):
        assert stored(space) == set()
        assert status.counts(connection, space.id).pending == 0


def test_rows_that_change_after_an_activation_are_jobs_of_the_space_rolled_back_to(
    settings: Settings, connection: Connection, second: Space
) -> None:
    spaces.activate(connection, second)
    connection.execute("UPDATE source_items SET content_ref = 'changed' WHERE source_key = '1'")
    connection.execute("DELETE FROM source_items WHERE source_key = '2'")
    back = spaces.rollback(connection)
    assert items(connection) == (64, {8})
    assert status.counts(connection, back.id).pending == 1
    fill(settings, back, FakeEmbedder())
    row = connection.execute("SELECT 1 FROM multimodal_items WHERE content_ref = 'changed'")
    assert row.fetchone() is not None


def test_an_incomplete_space_is_refused_and_says_what_is_missing(
    settings: Settings, connection: Connection, second: Space
) -> None:
    add_texts(connection, ["one more"], source="later")
    with pytest.raises(SpaceError, match=r"98\.48% of 66 source items, 1 pending.*0\.984"):
        spaces.activate(connection, second)
    assert items(connection)[1] == {8}
    assert spaces.activate(connection, second, min_coverage=0.984).state == "active"


def test_a_row_that_no_space_can_embed_does_not_hold_an_activation_up(
    settings: Settings, connection: Connection, filled: Space
) -> None:
    add_texts(connection, ["   "], source="bad")
    fill(settings, filled, FakeEmbedder())
    space = second_space(connection)
    fill(settings, space, FakeEmbedder(12))
    spaces.build_indexes(connection, space)
    found = spaces.coverage(connection, space)
    assert (found.done, found.excused, found.share) == (65, 1, 1.0)
    spaces.activate(connection, space)


def test_a_row_that_only_the_new_space_cannot_embed_holds_it_up(
    settings: Settings, connection: Connection, second: Space
) -> None:
    connection.execute(
        "INSERT INTO ingest_jobs (space_id, source_id, state, error_code) "
        "SELECT %s, min(id), 'failed', 'embed_failed' FROM source_items",
        (second.id,),
    )
    with pytest.raises(SpaceError, match="1 failed; see `pipeline failures`"):
        spaces.activate(connection, second)


def test_a_source_row_without_item_and_job_is_noticed_and_enqueued(
    connection: Connection, second: Space
) -> None:
    connection.execute(f"DELETE FROM {second.table_name('text')} WHERE content_ref = %s", TEXTS[:1])
    found = spaces.coverage(connection, second)
    assert (found.lost, found.share) == (1, 64 / 65)
    assert spaces.enqueue_missing(connection, second) == 1
    assert spaces.coverage(connection, second).pending == 1


def test_an_empty_space_is_refused(connection: Connection, filled: Space) -> None:
    space = second_space(connection)
    with pytest.raises(SpaceError, match="is empty; fill it with"):
        spaces.activate(connection, space, min_coverage=0)
    assert items(connection) == (65, {8})


def test_a_space_without_its_index_is_refused(
    settings: Settings, connection: Connection, filled: Space
) -> None:
    space = second_space(connection)
    fill(settings, space, FakeEmbedder(12))
    with pytest.raises(SpaceError, match="no whole HNSW index over its text and image items"):
        spaces.activate(connection, space)
    assert items(connection) == (65, {8})


def test_a_broken_index_is_refused_and_built_anew(connection: Connection, second: Space) -> None:
    index = second.index_name("text")
    # What an interrupted CREATE INDEX CONCURRENTLY leaves behind.
    connection.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", (index,)
    )
    assert spaces.index_is_valid(connection, second, "text") is False
    with pytest.raises(SpaceError, match="no whole HNSW index over its text items"):
        spaces.activate(connection, second)
    spaces.build_indexes(connection, second)
    assert spaces.missing_indexes(connection, second) == []
    spaces.activate(connection, second)


def test_building_an_index_again_changes_nothing(connection: Connection, second: Space) -> None:
    query = "SELECT 'second'::text, array_agg(indexrelid ORDER BY indexrelid) FROM pg_index"
    before = connection.execute(query).fetchall()
    spaces.build_indexes(connection, second)
    assert connection.execute(query).fetchall() == before


def test_the_first_space_of_a_database_needs_no_coverage(
    empty_url: str, new_database: Callable[..., str]
) -> None:
    from pipeline.postgres import migrate

    migrate.upgrade(empty_url)
    with connect(empty_url) as connection:
        add_texts(connection, ["added before there was a space"])
        space = spaces.create(connection, "first", FakeEmbedder())
        assert status.counts(connection, space.id).pending == 1
        assert spaces.activate(connection, space).state == "active"


def test_a_name_that_is_not_plain_is_refused(connection: Connection) -> None:
    for name in ['x"; DROP TABLE source_items; --', "Upper", "", "1st", "a" * 41, "a-b", "ü"]:
        with pytest.raises(ConfigurationError, match="cannot name a space"):
            spaces.create(connection, name, FakeEmbedder(12))
    assert len(spaces.list_spaces(connection)) == 1


def test_vectors_that_hnsw_cannot_index_are_refused(connection: Connection) -> None:
    cases: list[tuple[int, dict[str, Any], str]] = [
        (2001, {"vector_type": "vector"}, "at most 2000 dimensions.*use halfvec"),
        (4001, {}, "at most 4000 dimensions"),
        (12, {"vector_type": "bit"}, "halfvec or vector"),
        (12, {"hnsw_m": 1}, "m of HNSW is from 2 to 100"),
        (12, {"hnsw_m": 80}, r"from 160 \(twice m\)"),
    ]
    for dimensions, options, message in cases:
        model = described(FakeEmbedder(), dimensions=dimensions)
        with pytest.raises(ConfigurationError, match=message):
            spaces.create(connection, "x", model, **options)
    assert len(spaces.list_spaces(connection)) == 1


def test_names_models_and_builds_are_unique(connection: Connection, space: Space) -> None:
    with pytest.raises(SpaceError, match="'fake' exists already"):
        spaces.create(connection, "fake", FakeEmbedder(12))
    with pytest.raises(SpaceError, match="this model is the one of the space 'fake'"):
        spaces.create(connection, "again", FakeEmbedder())
    second_space(connection)
    with pytest.raises(SpaceError, match="this model is the one of the space 'second'"):
        spaces.create(connection, "again", FakeEmbedder(12))
    with pytest.raises(SpaceError, match="'second' is still building"):
        spaces.create(connection, "third", FakeEmbedder(16))


def test_rows_of_a_transaction_under_way_are_not_missed(
    url: str, connection: Connection, space: Space
) -> None:
    """Their trigger did not see the new space, and its enqueueing does not see them yet."""
    with connect(url) as writer, connect(url) as own:
        writer.execute("BEGIN")
        add_texts(writer, ["written before", "committed after"])
        creation = threading.Thread(target=lambda: second_space(own), daemon=True)
        creation.start()
        query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'ShareLock'"
        while connection.execute(query).fetchone() == (0,) and creation.is_alive():
            creation.join(0.01)
        writer.execute("COMMIT")
        creation.join(30)
    made = spaces.get_space(connection, "second")
    assert status.counts(connection, made.id).pending == 2


def test_two_creations_at_once_make_one_space_and_one_clear_error(
    url: str, connection: Connection
) -> None:
    with connect(url) as other, other.transaction():
        # As another process that is a moment ahead and has not committed yet.
        other.execute(
            "INSERT INTO embedding_spaces (name, state, model, dimensions, vector_type, precision, "
            "context_length, weights_sha256, fingerprint, description, hnsw_m, "
            "hnsw_ef_construction) "
            "VALUES ('rival', 'building', 'm', 4, 'halfvec', 'float32', 77, '', 'f', '{}', 16, 64)"
        )
        with pytest.raises(SpaceError, match=r"creating a space right now|long transaction"):
            second_space(connection)
    assert [s.name for s in spaces.list_spaces(connection)] == ["fake", "rival"]


def test_dropping_a_space_leaves_nothing_of_it(
    connection: Connection, filled: Space, second: Space
) -> None:
    add_texts(connection, ["pending in both"], source="later")
    spaces.drop(connection, second)
    assert [s.name for s in spaces.list_spaces(connection)] == ["fake"]
    left = connection.execute(
        "SELECT count(*) FROM pg_class WHERE relname LIKE %s", (f"%\\_s{second.id}%",)
    ).fetchone()
    assert left == (0,)
    jobs = connection.execute("SELECT DISTINCT space_id FROM ingest_jobs").fetchall()
    assert jobs == [(filled.id,)]
    assert items(connection) == (65, {8})


def test_the_active_space_is_not_dropped(connection: Connection, filled: Space) -> None:
    with pytest.raises(SpaceError, match="is active or gone"):
        spaces.drop(connection, filled)
    assert items(connection) == (65, {8})


def test_rolling_back_without_a_former_space_says_so(connection: Connection, space: Space) -> None:
    with pytest.raises(SpaceError, match="no other space was active before"):
        spaces.rollback(connection)


def test_an_unknown_space_is_named_with_those_there_are(connection: Connection) -> None:
    with pytest.raises(SpaceError, match="no space 'x'; there are: fake"):
        spaces.get_space(connection, "x")


def test_another_model_is_refused_and_every_difference_named(space: Space) -> None:
    spaces.check_model(space, FakeEmbedder().description)
    spaces.check_model(space, described(model="the same under another name").description)
    other = described(weights_sha256="beef", precision="bfloat16", logit_scale=50.0)
    with pytest.raises(ModelError) as caught:
        spaces.check_model(space, other.description)
    for field in (
        "weights_sha256: fake-8 != beef",
        "precision: float32 != bfloat16",
        "logit_scale: 100 != 50",
    ):
        assert field in str(caught.value)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("ViT-B-32/laion2b_s34b_b79k", "vit_b_32_laion2b_s34b_b79k"),
        ("demo", "demo"),
        ("/models/42/", "models_42"),
        ("42", "space_42"),
        ("", "space"),
        ("hf-hub:" + "x" * 60, "x" * 40),
        ("9" * 60, "space"),
    ],
)
def test_every_model_gives_a_name_that_a_space_may_have(model: str, name: str) -> None:
    assert spaces.name_for(model) == name
