"""Films and documents in a space whose model has an encoder of images: their frames and pages are
parts of them, with the seconds or the page that each stands for."""

import base64
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as parquet
import pytest
from typer.testing import CliRunner

from pipeline import spaces
from pipeline.cli import app
from pipeline.doctor.examination import examine
from pipeline.errors import ConfigurationError, SpaceError
from pipeline.ingest.offline import OfflineEmbedder
from pipeline.ingest.run import ingest
from pipeline.jobs import ClaimedJob
from pipeline.loaders import Loader, LoadOptions
from pipeline.modalities import TEXT
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect
from pipeline.queue.backoff import Backoff
from pipeline.queue.bounds import ClaimBounds
from pipeline.queue.failures import retry
from pipeline.queue.status import ingest_status, unsupported
from pipeline.settings import Settings
from pipeline.sources.removal import Brake
from pipeline.sources.rescan import rescan
from pipeline.sources.sync import sync
from pipeline.spaces import Space, activation
from pipeline.spaces.creation import enqueue_derived
from pipeline.spaces.index import rebuild
from pipeline.spaces.index.graph import Graph, IndexKind
from pipeline.spaces.index.rebuild import rebuild_indexes
from pipeline.spaces.portable import PortableSpace
from pipeline.spaces.tables import with_table
from pipeline.transfer.answer_files import answer_schema, finished_row
from pipeline.transfer.answers import import_answers
from pipeline.transfer.importing import ForeignItem, import_items
from pipeline.transfer.pending import export_pending
from tests.helpers.databases import login_url, role
from tests.helpers.fakes import FakeEmbedder, add_texts, vector_of
from tests.helpers.media import film, scene
from tests.helpers.moments import add, embed, media, notes_of, pages_of, two_shots
from tests.helpers.processes import wait_until
from tests.helpers.spaces import second_space

pytest.importorskip("av", reason="needs the extra [video]")
pytest.importorskip("pypdfium2", reason="needs the extra [documents]")

QUERY = "[" + ",".join(map(str, vector_of(b"asked"))) + "]"


def tables(connection: Connection) -> set[str]:
    rows = connection.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits "
        "WHERE inhparent = 'multimodal_items'::regclass"
    ).fetchall()
    return {name.removeprefix("multimodal_items_") for (name,) in rows}


def test_frames_and_pages_are_parts_with_their_times_and_numbers(
    connection: Connection, settings: Settings, space: Space, media: Path
) -> None:
    shots = add(connection, "video", media / "shots.mp4", '{"title": "two shots"}')
    pages = add(connection, "document", media / "pages.pdf")
    report = embed(settings, space)
    assert (report.done, report.failed, report.items) == (2, 0, 5)

    first, second = notes_of(connection, shots)
    assert (first["start"], first["end"]) == (0.0, 3.0)
    assert (second["start"], second["end"]) == (3.0, pytest.approx(6.0, abs=0.11))
    assert [notes["page"] for notes in notes_of(connection, pages)] == [1, 2, 3]
    titles = connection.execute(
        "SELECT DISTINCT metadata ->> 'title', content_ref FROM multimodal_items "
        "WHERE source_id = %s", (shots,),
    ).fetchall()  # fmt: skip
    assert titles == [("two shots", str(media / "shots.mp4"))]


def test_a_space_has_a_partition_once_it_has_the_first_item(
    connection: Connection, settings: Settings, space: Space, media: Path
) -> None:
    """And an HNSW index of the name that all have, attached to the hull."""
    before = {f"text_s{space.id}", f"image_s{space.id}"}
    add(connection, "video", media / "shots.mp4")
    assert tables(connection) == before
    (row,) = [row for row in ingest_status(connection) if row.modality == "video"]
    assert (row.items, row.pending) == (0, 1)

    embed(settings, space)
    assert tables(connection) == {*before, f"video_s{space.id}"}
    assert spaces.has_whole_index(connection)
    found = spaces.active_space(connection)
    assert found.modalities == ("text", "image", "video")
    assert found.derived == ("document",)
    assert spaces.missing_indexes(connection, found) == []
    assert found.fingerprint == space.fingerprint
    probes = connection.execute("SELECT FROM space_probes WHERE modality = 'video'")
    assert probes.rowcount == 0


def test_a_worker_that_was_started_before_writes_the_first_film(
    connection: Connection, settings: Settings, space: Space, media: Path
) -> None:
    """Its picture of the space is older than the table, whoever makes that."""
    stale = space
    add(connection, "video", media / "shots.mp4")
    embed(settings, space)
    add(connection, "video", media / "other.mp4")
    report = embed(settings, stale)
    assert (report.done, report.items) == (1, 2)


def test_a_model_without_images_leaves_films_alone(
    connection: Connection, settings: Settings, space: Space, media: Path
) -> None:
    class Texts(FakeEmbedder):
        def __init__(self) -> None:
            super().__init__(12)
            self.encoders = {TEXT.name: self.encoders[TEXT.name]}

    connection.execute("UPDATE embedding_spaces SET state = 'retired'")
    connection.execute("TRUNCATE source_items")
    texts = spaces.create(connection, "texts", Texts())
    assert (texts.modalities, texts.derived) == (("text",), ())
    film_id = add(connection, "video", media / "shots.mp4")
    add_texts(connection, ["a text"])
    jobs = connection.execute("SELECT source_id FROM ingest_jobs WHERE space_id = %s", (texts.id,))
    assert film_id not in {source_id for (source_id,) in jobs}
    assert [(u.modality, u.source_items) for u in unsupported(connection)] == [("video", 1)]
    assert embed(settings, texts, Texts()).done == 1


def test_sound_waits_for_a_model_that_hears(connection: Connection, media: Path) -> None:
    add(connection, "audio", media / "a.wav")
    assert connection.execute("SELECT FROM ingest_jobs").rowcount == 0
    assert [(u.modality, u.source_items) for u in unsupported(connection)] == [("audio", 1)]


def test_equal_frames_take_their_vectors_from_each_other(
    connection: Connection, settings: Settings, space: Space, media: Path
) -> None:
    """The model sees a frame once, whichever film shows it."""
    embedder = FakeEmbedder()
    add(connection, "video", media / "shots.mp4")
    embed(settings, space, embedder)
    assert embedder.embedded == 2
    (media / "copy.mp4").write_bytes(two_shots())
    copy = add(connection, "video", media / "copy.mp4")
    assert embed(settings, space, embedder).reused == 2
    assert embedder.embedded == 2
    assert len(notes_of(connection, copy)) == 2


def test_a_film_that_changed_loses_the_moments_that_it_no_longer_has(
    connection: Connection, settings: Settings, space: Space, media: Path
) -> None:
    path = media / "shots.mp4"
    source_id = add(connection, "video", path)
    embed(settings, space)
    path.write_bytes(film([scene(7)] * 20))
    connection.execute("SELECT enqueue_source_items(ARRAY[%s::bigint])", (source_id,))
    embed(settings, space)
    (notes,) = notes_of(connection, source_id)
    assert (notes["start"], notes["end"]) == (0.0, pytest.approx(2.0, abs=0.11))


def test_metadata_that_changed_is_told_of_every_moment_without_the_model(
    connection: Connection, settings: Settings, space: Space, media: Path
) -> None:
    source_id = add(connection, "video", media / "shots.mp4")
    embed(settings, space)
    before = notes_of(connection, source_id)
    connection.execute("""UPDATE source_items SET metadata = '{"title": "new"}'""")
    rows = connection.execute(
        "SELECT metadata FROM multimodal_items WHERE source_id = %s ORDER BY part", (source_id,)
    ).fetchall()
    assert [row[0] for row in rows] == [{"title": "new", "_pipeline": notes} for notes in before]
    assert connection.execute("SELECT FROM ingest_jobs").rowcount == 0


def test_a_film_that_fails_keeps_its_code_and_is_done_after_a_retry(
    connection: Connection, settings: Settings, space: Space, media: Path
) -> None:
    path = media / "broken.mp4"
    path.write_bytes(two_shots()[:400])
    source_id = add(connection, "video", path)
    good = add(connection, "document", media / "pages.pdf")
    report = embed(settings, space)
    assert (report.done, report.failed) == (1, 1)
    rows = connection.execute("SELECT source_id, error_code, state FROM ingest_failures").fetchall()
    assert rows == [(source_id, "truncated", "failed")]
    path.write_bytes(two_shots())
    assert retry(connection, space_id=space.id) == 1
    assert embed(settings, space).done == 1
    assert len(notes_of(connection, source_id)) == 2
    assert len(notes_of(connection, good)) == 3


def test_without_the_extra_each_film_says_which_is_missing(
    connection: Connection,
    settings: Settings,
    space: Space,
    media: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    film_id = add(connection, "video", media / "shots.mp4")
    add(connection, "document", media / "pages.pdf")
    monkeypatch.setattr(
        "pipeline.modalities.decoding.reader.find_spec", lambda name: None if name == "av" else True
    )
    report = embed(settings, space)
    assert (report.done, report.failed) == (1, 1)
    rows = connection.execute("SELECT source_id, error_code, error FROM ingest_failures").fetchall()
    (found,) = rows
    assert found[:2] == (film_id, "missing_extra")
    assert "[video]" in found[2]
    monkeypatch.undo()
    assert retry(connection, code="missing_extra") == 1
    assert embed(settings, space).done == 1


def test_a_deleted_film_leaves_nothing_in_any_space(
    connection: Connection, settings: Settings, space: Space, media: Path
) -> None:
    other = second_space(connection)
    source_id = add(connection, "video", media / "shots.mp4")
    kept = add(connection, "video", media / "other.mp4")
    embed(settings, space)
    embed(settings, other)
    connection.execute("DELETE FROM source_items WHERE id = %s", (source_id,))
    for of in (space, other):
        rows = connection.execute(
            f"SELECT DISTINCT source_id FROM multimodal_items_video_s{of.id}".encode()
        ).fetchall()
        assert rows == [(kept,)]


def test_a_transaction_older_than_the_partition_deletes_no_film(
    connection: Connection, settings: Settings, space: Space, url: str, media: Path
) -> None:
    """It would not see the table, and the items would stay; it is told to begin again."""
    source_id = add(connection, "video", media / "shots.mp4")
    with connect(url) as old:
        old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT FROM embedding_spaces")
        embed(settings, space)
        with pytest.raises(Exception, match="got a table since this transaction began") as found:
            old.execute("DELETE FROM source_items WHERE id = %s", (source_id,))
        assert getattr(found.value, "sqlstate", None) == "40001"


def test_a_new_space_covers_films_and_takes_their_place(
    connection: Connection, settings: Settings, space: Space, media: Path
) -> None:
    source_id = add(connection, "video", media / "shots.mp4")
    embed(settings, space)
    other = second_space(connection, dimensions=12)
    assert spaces.coverage(connection, other).pending == 1
    embed(settings, other)
    other = spaces.get_space(connection, other.name)
    assert spaces.coverage(connection, other).share == 1
    spaces.build_indexes(connection, other)
    spaces.activate(connection, other)
    assert tables(connection) == {f"{m}_s{other.id}" for m in ("text", "image", "video")}
    assert [notes["start"] for notes in notes_of(connection, source_id)] == [0.0, 3.0]
    spaces.rollback(connection)
    assert tables(connection) == {f"{m}_s{space.id}" for m in ("text", "image", "video")}


def test_a_space_that_lacks_the_films_is_not_complete(
    connection: Connection, settings: Settings, space: Space, media: Path
) -> None:
    add(connection, "video", media / "shots.mp4")
    add_texts(connection, ["a text"])
    embed(settings, space)
    other = second_space(connection)
    connection.execute("UPDATE ingest_jobs SET run_after = 'infinity' FROM source_items AS s "
                       "WHERE s.id = source_id AND s.modality = 'video'")  # fmt: skip
    embed(settings, other)
    with pytest.raises(SpaceError, match="1 pending"):
        spaces.activate(connection, other)


def test_a_space_from_before_gets_jobs_by_migrating(
    server: Any,
    empty_url: str,
    settings_of: Callable[..., Settings],
    media: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That of an older release's schema, with films that no model had an encoder for then."""
    from tests.integration.test_rolling_upgrade import restore_old

    restore_old(server, empty_url)
    with connect(empty_url) as connection:
        old = [add(connection, "video", media / "shots.mp4")]
        old.append(add(connection, "document", media / "pages.pdf"))
        waiting = "SELECT source_id FROM ingest_jobs WHERE source_id = ANY (%s) AND space_id = %s"
        active = "SELECT id FROM embedding_spaces WHERE state = 'active'"
        (space_id,) = connection.execute(active).fetchone() or (0,)
        assert connection.execute(waiting, (old, space_id)).rowcount == 0
        monkeypatch.setenv("DATABASE_URL", empty_url)
        done = CliRunner().invoke(app, ["migrate"])
        assert done.exit_code == 0, done.stderr
        expected = 2 * len(spaces.list_spaces(connection))
        assert f"jobs:   {expected} of rows that a space embeds" in done.stdout
        assert "jobs:" not in CliRunner().invoke(app, ["migrate"]).stdout
        assert connection.execute(waiting, (old, space_id)).rowcount == 2
        embed(settings_of(empty_url), spaces.active_space(connection))
        assert [len(notes_of(connection, source_id)) for source_id in old] == [2, 3]


def test_going_back_to_the_revision_before_takes_the_moments_along(
    connection: Connection, settings: Settings, space: Space, url: str, media: Path
) -> None:
    add(connection, "video", media / "shots.mp4")
    add_texts(connection, ["a text"])
    embed(settings, space)
    add(connection, "document", media / "pages.pdf")
    migrate.downgrade(url, "pipeline_0015_paused")
    assert tables(connection) == {f"text_s{space.id}", f"image_s{space.id}"}
    assert connection.execute("SELECT FROM ingest_jobs").rowcount == 0
    migrate.upgrade(url)
    assert enqueue_derived(connection) == 2
    assert embed(settings, spaces.active_space(connection)).items == 5


def test_the_doctor_has_nothing_to_say_against_it(
    connection: Connection, settings: Settings, space: Space, media: Path
) -> None:
    add(connection, "video", media / "shots.mp4")
    add(connection, "document", media / "pages.pdf")
    embed(settings, space)
    connection.execute("SELECT refresh_space_statistics()")
    wrong = {check.name: check.found for check in examine(settings) if not check.ok}
    assert {
        name for name in wrong if name in {"coverage", "index", "norms", "unsupported"}
    } == set()


def test_who_may_embed_makes_the_partition_and_nobody_else(
    connection: Connection, settings: Settings, space: Space, url: str, media: Path
) -> None:
    """A worker's login owns nothing."""
    with (
        role(connection, "moments_worker", "LOGIN IN ROLE pipeline_ingest"),
        role(connection, "moments_analyst", "LOGIN IN ROLE pipeline_analyst"),
    ):
        add(connection, "video", media / "shots.mp4")
        with (
            connect(login_url(url, "moments_analyst")) as analyst,
            pytest.raises(Exception, match="permission denied"),
        ):
            analyst.execute("SELECT make_derived_items(%s, 'video')", (space.id,))
        secret = type(settings.database_url)(login_url(url, "moments_worker"))
        worker = settings.model_copy(update={"database_url": secret})
        assert embed(worker, space).items == 2
        with connect(login_url(url, "moments_worker")) as own:
            for modality in ("audio", "nonsense"):
                with pytest.raises(Exception, match=f"embeds no '{modality}'"):
                    own.execute("SELECT make_derived_items(%s, %s)", (space.id, modality))
        with connect(login_url(url, "moments_analyst")) as analyst:
            assert analyst.execute("SELECT FROM multimodal_items").rowcount == 2


def test_vectors_are_those_of_the_images(
    connection: Connection, settings: Settings, space: Space, media: Path
) -> None:
    """A page in the cone of images: the same drawing gives the same vector either way."""
    source_id = add(connection, "document", media / "pages.pdf")

    class Watched(FakeEmbedder):
        seen: list[bytes]

        def embed(self, contents: list[bytes]) -> Any:
            self.seen = contents
            return super().embed(contents)

    embedder = Watched()
    embed(settings, space, embedder)
    stored = connection.execute(
        "SELECT embedding::text FROM multimodal_items WHERE source_id = %s ORDER BY part",
        (source_id,),
    ).fetchall()
    assert len(embedder.seen) == 3
    expected = [vector_of(content) for content in embedder.seen]
    for (text,), vector in zip(stored, expected, strict=True):
        assert [float(x) for x in text[1:-1].split(",")] == pytest.approx(vector, abs=1e-3)


def test_a_rescan_finds_the_film_that_changed_and_removes_the_one_that_is_gone(
    connection: Connection, settings: Settings, space: Space, media: Path
) -> None:
    changed = add(connection, "video", media / "shots.mp4")
    gone = add(connection, "document", media / "pages.pdf")
    with Loader(LoadOptions.of(settings)) as loader:
        embed(settings, space, load=loader.load)
        (media / "shots.mp4").write_bytes(film([scene(9)] * 10))
        (media / "pages.pdf").unlink()
        report = rescan(connection, loader.stat, Brake(1.0))
        assert (report.checked, report.changed, report.removed) == (2, 1, 1)
        embed(settings, space, load=loader.load)
    assert len(notes_of(connection, changed)) == 1
    assert notes_of(connection, gone) == []


def test_a_policy_shows_each_tenant_its_own_moments(
    connection: Connection, settings: Settings, space: Space, url: str, media: Path
) -> None:
    """A partition that comes later is under the policies of the table, too."""
    connection.execute(
        "ALTER TABLE multimodal_items ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY own ON multimodal_items TO pipeline_analyst "
        "USING (metadata ->> 'tenant' = current_user)"
    )
    with (
        role(connection, "moments_a", "LOGIN IN ROLE pipeline_analyst"),
        role(connection, "moments_b", "LOGIN IN ROLE pipeline_analyst"),
    ):
        mine = add(connection, "video", media / "shots.mp4", '{"tenant": "moments_a"}')
        add(connection, "video", media / "other.mp4", '{"tenant": "moments_b"}')
        embed(settings, space)
        with connect(login_url(url, "moments_a")) as analyst:
            rows = analyst.execute(
                "SELECT DISTINCT source_id FROM search_items(embedding => %s)", (QUERY,)
            ).fetchall()
            assert rows == [(mine,)]
            with pytest.raises(Exception, match="permission denied"):
                analyst.execute(f"SELECT FROM multimodal_items_video_s{space.id}".encode())


def test_moments_that_were_embedded_elsewhere_come_back_whole(
    connection: Connection, settings: Settings, space: Space, media: Path
) -> None:
    """Before the database has a table for them."""
    shots = add(connection, "video", media / "shots.mp4")
    pages = add(connection, "document", media / "pages.pdf")
    export_pending(connection, space, media / "pending", ClaimBounds(2**20, 2**20, 2**20))
    (file,) = (media / "pending").iterdir()
    elsewhere = PortableSpace.from_json(
        json.loads(json.dumps(PortableSpace.of(connection, space).to_json()))
    )
    jobs = [
        ClaimedJob(space.id, row["source_id"], row["version"], 1, row["modality"],
                   row["content_ref"], "{}")
        for row in parquet.read_table(file).to_pylist()
    ]  # fmt: skip
    with OfflineEmbedder.of(elsewhere, settings) as offline:
        done = offline.embed(jobs)
    assert not done.failures
    answers = [finished_row(space.fingerprint, finished) for finished in done.finished]
    (media / "answers").mkdir()
    parquet.write_table(
        pyarrow.Table.from_pylist(answers, schema=answer_schema(space.dimensions)),
        media / "answers" / file.name,
    )
    report = import_answers(
        connection, space, media / "answers", max_attempts=5, backoff=Backoff(1, 10)
    )
    assert (report.done, report.items) == (2, 5)
    assert [notes["start"] for notes in notes_of(connection, shots)] == [0.0, 3.0]
    assert [notes["page"] for notes in notes_of(connection, pages)] == [1, 2, 3]


def test_vectors_of_films_are_imported_into_a_space_that_had_none(
    connection: Connection, settings: Settings, space: Space
) -> None:
    rows = [
        ForeignItem("row 1", "a", "video", "/films/a.mp4", {}, vector_of(b"a")),
        ForeignItem("row 2", "b", "text", "a text", {}, vector_of(b"b")),
    ]
    import_items(connection, space, "imported", rows)
    found = connection.execute("SELECT modality FROM multimodal_items ORDER BY 1").fetchall()
    assert found == [("text",), ("video",)]
    with pytest.raises(ConfigurationError, match="has no modality 'audio'"):
        import_items(
            connection, space, "other",
            [ForeignItem("row 1", "c", "audio", "/a.wav", {}, vector_of(b"c"))],
        )  # fmt: skip


def test_the_first_film_waits_for_no_reader_and_holds_up_no_writer(
    connection: Connection, settings: Settings, space: Space, url: str, media: Path
) -> None:
    """While an application's transactions, which read and write, stay open."""
    add(connection, "video", media / "shots.mp4")
    with connect(url) as reader, connect(url) as writer:
        reader.execute("BEGIN")
        reader.execute("SELECT FROM multimodal_items")
        writer.execute("BEGIN")
        add(writer, "video", media / "other.mp4")
        with connection.transaction():
            connection.execute("SET LOCAL lock_timeout = '2s'")
            connection.execute("SELECT make_derived_items(%s, 'video')", (space.id,))
            with connect(url) as third:
                third.execute("SET lock_timeout = '2s'")
                third.execute("SELECT FROM search_items(embedding => %s)", (QUERY,))
                add(third, "text", Path("a text"))
        writer.execute("COMMIT")
        reader.execute("COMMIT")
    assert embed(settings, space).items == 5


def test_two_workers_with_the_first_film_make_one_partition(
    connection: Connection, space: Space, url: str
) -> None:
    with connect(url) as other:
        other.execute("BEGIN")
        other.execute("SELECT make_derived_items(%s, 'video')", (space.id,))
        with ThreadPoolExecutor(1) as thread:
            made = thread.submit(with_table, connection, space, "video")
            wait_until(lambda: waits_for_lock(other), "the second worker")
            other.execute("COMMIT")
            assert "video" in made.result().modalities
    assert f"video_s{space.id}" in tables(connection)


def waits_for_lock(connection: Connection) -> bool:
    return bool(connection.execute("SELECT FROM pg_locks WHERE NOT granted").rowcount)


def test_a_backlog_with_films_is_loaded_before_the_indexes(
    connection: Connection, settings: Settings, space: Space, media: Path
) -> None:
    add(connection, "video", media / "shots.mp4")
    add_texts(connection, ["a text", "another"])
    settings = settings.model_copy(update={"load_first_rows": 2, "decode_processes": 1})
    assert ingest(settings).done == 3
    assert spaces.has_whole_index(connection)
    found = spaces.active_space(connection)
    assert "video" in found.modalities
    assert spaces.missing_indexes(connection, found) == []


def test_films_in_a_space_of_a_compact_index_have_their_coordinates(
    connection: Connection,
    settings: Settings,
    space: Space,
    media: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for constant in ("compact.LEAST_SAMPLE", "compact.LEAST_OF_MODALITY", "rebuild.LEAST_SAMPLE"):
        monkeypatch.setattr(f"pipeline.spaces.index.{constant}", 1)
    add_texts(connection, [f"text {n}" for n in range(40)])
    embed(settings, space)
    graph = Graph(space.hnsw_m, space.hnsw_ef_construction)
    rebuild_indexes(connection, space, graph, IndexKind("compact", 4))
    add(connection, "video", media / "shots.mp4")
    embed(settings, spaces.active_space(connection))
    rows = connection.execute(
        "SELECT vector_dims(compact) FROM multimodal_items WHERE modality = 'video'"
    ).fetchall()
    assert rows == [(4,), (4,)]
    index = connection.execute(
        "SELECT pg_get_indexdef(to_regclass(%s))", (space.index_name("video"),)
    ).fetchone()
    assert index is not None
    assert "compact" in index[0]
    assert spaces.has_whole_index(connection)
    (found,) = connection.execute(
        "SELECT modality FROM search_items(like_item => "
        "(SELECT max(id) FROM multimodal_items), k => 1, modality => '{video,text}')"
    ).fetchall()
    assert found[0] in ("video", "text")


def test_a_film_that_comes_while_the_indexes_are_rebuilt_has_one_after(
    connection: Connection,
    settings: Settings,
    space: Space,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add_texts(connection, ["a text"])
    embed(settings, space)
    built = rebuild.build_index

    def build(*arguments: Any) -> None:
        built(*arguments)
        with connect(url) as other:
            other.execute("SELECT make_derived_items(%s, 'video')", (space.id,))

    monkeypatch.setattr(rebuild, "build_index", build)
    rebuild_indexes(connection, space, Graph(16, 64))
    assert spaces.has_whole_index(connection)
    assert spaces.missing_indexes(connection, spaces.active_space(connection)) == []


def test_a_film_that_comes_while_its_space_is_activated_is_found_after(
    connection: Connection, space: Space, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = second_space(connection)
    lock = activation._lock

    def lock_later(*arguments: Any) -> None:
        with connect(url) as worker:
            worker.execute("SELECT make_derived_items(%s, 'video')", (other.id,))
        lock(*arguments)

    monkeypatch.setattr(activation, "_lock", lock_later)
    spaces.activate(connection, other)
    assert tables(connection) == {f"{m}_s{other.id}" for m in ("text", "image", "video")}


def test_a_text_that_becomes_a_film_has_its_moments_and_nothing_else(
    connection: Connection, settings: Settings, space: Space, media: Path
) -> None:
    """Before the space has a table for it, and back again."""
    add_texts(connection, ["a text"])
    embed(settings, space)
    connection.execute(
        "UPDATE source_items SET modality = 'video', content_ref = %s", (str(media / "shots.mp4"),)
    )
    embed(settings, space)
    query = "SELECT modality, count(*) FROM multimodal_items GROUP BY 1"
    assert connection.execute(query).fetchall() == [("video", 2)]
    connection.execute("UPDATE source_items SET modality = 'text', content_ref = 'a text'")
    embed(settings, space)
    assert connection.execute(query).fetchall() == [("text", 1)]


def test_a_film_that_was_renamed_keeps_its_moments(
    connection: Connection, settings: Settings, space: Space, media: Path
) -> None:
    path = media / "shots.mp4"
    source_id = add(connection, "video", path)
    connection.execute("UPDATE source_items SET source_key = content_ref")
    embedder = FakeEmbedder()
    with Loader(LoadOptions.of(settings)) as loader:
        embed(settings, space, embedder, load=loader.load)
        path.rename(media / "harbour.mp4")
        report = rescan(connection, loader.stat, Brake(1.0), [media])
        assert (report.moved, report.removed) == (1, 0)
        embed(settings, space, embedder, load=loader.load)
    assert embedder.embedded == 2
    refs = connection.execute(
        "SELECT DISTINCT content_ref FROM multimodal_items WHERE source_id = %s", (source_id,)
    ).fetchall()
    assert refs == [(str(media / "harbour.mp4"),)]


def test_a_sync_finds_the_film_that_no_trigger_saw_and_is_content_with_the_others(
    connection: Connection, settings: Settings, space: Space, media: Path
) -> None:
    """Before the space has a table and after, by a path or in the reference itself."""
    content = "data:application/pdf;base64," + base64.b64encode(pages_of(1)).decode()
    insert = (
        "INSERT INTO source_items (source, source_key, modality, content_ref) "
        "VALUES ('hidden', %s, %s, %s)"
    )
    for key, modality, reference in (
        ("a", "video", media / "shots.mp4"),
        ("b", "document", content),
    ):
        connection.execute("ALTER TABLE source_items DISABLE TRIGGER USER")
        connection.execute(insert, (key, modality, str(reference)))
        connection.execute("ALTER TABLE source_items ENABLE TRIGGER USER")
        assert sync(connection).new == 1
        with Loader(LoadOptions.of(settings)) as loader:
            assert embed(settings, space, load=loader.load).done == 1
        report = sync(connection)
        assert (report.new, report.changed, report.gone) == (0, 0, 0)


def test_a_search_for_films_before_there_is_one_finds_nothing(
    connection: Connection, settings: Settings, space: Space
) -> None:
    add_texts(connection, ["a text"])
    embed(settings, space)
    query = "SELECT modality FROM search_items(embedding => %s, modality => %s)"
    assert connection.execute(query, (QUERY, ["video", "document"])).fetchall() == []
    assert connection.execute(query, (QUERY, ["video", "text"])).fetchall() == [("text",)]


__all__ = ["media"]  # a fixture
