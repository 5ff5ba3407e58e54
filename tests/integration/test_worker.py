"""The worker on a real database, with an embedder that needs no model."""

import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import PermanentRowError, TransientRowError
from pipeline.ingest import worker as worker_module
from pipeline.loaders import LoadedContent
from pipeline.modalities import Decoded
from pipeline.postgres.connections import Connection
from pipeline.postgres.vector_arrays import unpack_vector
from pipeline.queue import failures, status
from pipeline.queue.due import CaughtUp
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.fakes import FakeEmbedder, add_texts, vector_of
from tests.helpers.processes import wait_until
from tests.helpers.workers import content, make_worker, running, work


def numbered(reference: str) -> LoadedContent:
    """Loaded from a reference that is a number, and made of it."""
    return content(reference.encode().rjust(32))


def numbered_image(data: bytes) -> Image.Image:
    """Of a red that is the number."""
    return Image.new("RGB", (8, 8), (int(data), 0, 0))


def vectors(connection: Connection) -> dict[str, Any]:
    rows = connection.execute(
        "SELECT content_ref, embedding FROM multimodal_items", binary=True
    ).fetchall()
    return {ref: unpack_vector(bytes(data), "halfvec") for ref, data in rows}


def test_every_pending_row_becomes_one_item_with_its_own_vector(
    settings: Settings, space: Space, connection: Connection
) -> None:
    texts = [f"text number {n}" for n in range(300)]
    add_texts(connection, texts)
    report = work(settings, space)
    assert (report.done, report.failed, report.items) == (300, 0, 300)
    stored = vectors(connection)
    assert sorted(stored) == sorted(texts)
    for text in texts:
        np.testing.assert_allclose(stored[text], vector_of(text.encode()), atol=1e-3)
    assert status.counts(connection, space.id) == status.QueueCounts(0, 0, 0, 0)


def test_a_second_run_changes_no_row(
    settings: Settings, space: Space, connection: Connection
) -> None:
    add_texts(connection, ["one", "two"])
    work(settings, space)
    query = "SELECT id, xmin::text FROM multimodal_items ORDER BY id"
    before = connection.execute(query).fetchall()
    assert work(settings, space).done == 0
    connection.execute("UPDATE source_items SET content_ref = content_ref")
    assert work(settings, space).done == 0
    assert connection.execute(query).fetchall() == before


def test_a_run_ends_though_new_rows_keep_coming(
    settings: Settings, space: Space, connection: Connection
) -> None:
    """A scheduled job beside a steady stream; what came too late is the next run's."""
    most = 50
    added: list[str] = []

    def one_more(_: Sequence[bytes]) -> None:
        if len(added) < most:
            added.append(f"added while the model worked, {len(added)}")
            add_texts(connection, added[-1:], source=f"stream {len(added)}")

    add_texts(connection, ["there from the beginning"])
    report = work(settings, space, FakeEmbedder(before=one_more))
    assert 1 <= report.done < most
    left = status.counts(connection, space.id).due
    assert left == len(added) + 1 - report.done
    assert "there from the beginning" in vectors(connection)
    assert work(settings, space).done == left


def test_what_changes_in_the_hands_of_a_run_that_has_caught_up_is_its_own(
    settings: Settings, space: Space, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    caught_up, changed, now = threading.Event(), threading.Event(), CaughtUp.now

    def note(own: Connection, in_hand: Iterable[int]) -> CaughtUp:
        found = now(own, in_hand)
        caught_up.set()
        return found

    def change(_: Sequence[bytes]) -> None:
        if not changed.is_set():
            assert caught_up.wait(60)
            changed.set()
            connection.execute("UPDATE source_items SET content_ref = 'changed'")
            add_texts(connection, ["new since"], source="later")

    monkeypatch.setattr(CaughtUp, "now", note)
    add_texts(connection, ["as it was"])
    assert work(settings, space, FakeEmbedder(before=change)).done >= 1
    assert "changed" in vectors(connection)


def test_a_row_that_changed_back_reuses_its_vector_and_keeps_its_item(
    settings: Settings, space: Space, connection: Connection
) -> None:
    add_texts(connection, ["one"])
    work(settings, space)
    query = "SELECT id, xmin::text FROM multimodal_items"
    before = connection.execute(query).fetchall()
    connection.execute("UPDATE source_items SET content_ref = 'other'")
    connection.execute("UPDATE source_items SET content_ref = 'one'")
    embedder = FakeEmbedder()
    report = work(settings, space, embedder)
    assert (report.done, report.reused, embedder.embedded) == (1, 1, 0)
    assert connection.execute(query).fetchall() == before


def test_one_bad_row_fails_alone_and_says_why(
    settings: Settings, space: Space, connection: Connection
) -> None:
    add_texts(connection, [f"good {n}" for n in range(63)] + ["  "])
    report = work(settings, space)
    assert (report.done, report.failed) == (63, 1)
    (failure,) = failures.grouped(connection, space.id)
    assert (failure.code, failure.count) == ("empty_text", 1)


def test_a_poisonous_input_costs_one_row_of_its_batch(
    settings: Settings, space: Space, connection: Connection
) -> None:
    def refuse(contents: Any) -> None:
        if b"poison" in contents:
            raise RuntimeError("the kernel says no")

    add_texts(connection, [f"good {n}" for n in range(63)] + ["poison"])
    report = work(settings, space, FakeEmbedder(before=refuse))
    assert (report.done, report.failed, report.retrying) == (63, 0, 1)
    row = connection.execute(
        "SELECT state, attempts, error_code, error FROM ingest_jobs"
    ).fetchone()
    assert row is not None
    assert row[:3] == ("pending", 1, "embed_failed")
    assert "the kernel says no" in row[3]


def test_a_nan_vector_fails_its_own_row_only(
    settings: Settings, space: Space, connection: Connection
) -> None:
    class Broken(FakeEmbedder):
        def embed(self, contents: list[bytes]) -> Any:
            rows = super().embed(contents)
            rows[[content == b"nan" for content in contents]] = np.nan
            return rows

    add_texts(connection, ["good", "nan"])
    report = work(settings, space, Broken())
    assert (report.done, report.failed) == (1, 1)
    assert failures.grouped(connection, space.id)[0].code == "bad_vector"


def test_a_long_text_becomes_parts_and_a_shorter_one_loses_them(
    settings: Settings, space: Space, connection: Connection
) -> None:
    long = "".join(f"{n:04d}" for n in range(200))
    add_texts(connection, [long])
    assert work(settings, space).items == 4
    query = "SELECT part, content_ref FROM multimodal_items ORDER BY part"
    rows = connection.execute(query).fetchall()
    assert "".join(ref for _, ref in rows) == long
    connection.execute("UPDATE source_items SET content_ref = 'short'")
    work(settings, space)
    assert connection.execute(query).fetchall() == [(0, "short")]


def test_a_row_that_changes_its_modality_leaves_no_item_behind(
    settings: Settings, space: Space, connection: Connection, tmp_path: Path
) -> None:
    loaded = LoadedContent(b"x", b"1" * 32, {"size": 1})
    decoded = Decoded(Image.new("RGB", (4, 4), "red"), {"format": "PNG"})
    add_texts(connection, ["a text"])
    work(settings, space)
    connection.execute("UPDATE source_items SET modality = 'image', content_ref = '/x.png'")
    work(settings, space, load=lambda _: loaded, decode=lambda _: decoded)
    rows = connection.execute(
        "SELECT modality, content_ref, metadata FROM multimodal_items"
    ).fetchall()
    assert rows == [("image", "/x.png", {"_pipeline": {"size": 1, "format": "PNG"}})]


@pytest.mark.parametrize(
    ("own", "stored"),
    [
        ('{"a": 1}', '{"a": 1, "_pipeline": {"size": 1}}'),
        # No float in between: numbers keep every digit.
        (
            '{"n": 12345678901234567890.5}',
            '{"n": 12345678901234567890.5, "_pipeline": {"size": 1}}',
        ),
        ('{"_pipeline": "mine"}', '{"_pipeline": {"size": 1}}'),
        ('["no", "object"]', '["no", "object"]'),
        ("null", "null"),
    ],
)
def test_metadata_arrives_as_it_was_beside_what_the_intake_found(
    settings: Settings, space: Space, connection: Connection, own: str, stored: str
) -> None:
    loaded = LoadedContent(b"x", b"1" * 32, {"size": 1})
    decoded = Decoded(Image.new("RGB", (4, 4), "red"))
    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref, metadata) "
        "VALUES ('t', '1', 'image', '/x.png', %s)",
        (own,),
    )
    work(settings, space, load=lambda _: loaded, decode=lambda _: decoded)
    row = connection.execute(
        "SELECT metadata = %s::jsonb, metadata::text FROM multimodal_items", (stored,)
    ).fetchone()
    assert row is not None
    assert row[0], row[1]


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (PermanentRowError("not_found", "there is no file /x.png"), "failed"),
        (TransientRowError("timeout", "no answer from example.org in 30 s"), "pending"),
    ],
)
def test_a_failed_load_is_recorded_with_its_code(
    settings: Settings, space: Space, connection: Connection, error: Exception, state: str
) -> None:
    def load(_: str) -> Any:
        raise error

    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref) "
        "VALUES ('t', '1', 'image', '/x.png')"
    )
    work(settings, space, load=load)
    row = connection.execute("SELECT state, error_code, error FROM ingest_jobs").fetchone()
    assert row == (state, error.code, str(error))  # type: ignore[attr-defined]


def test_images_wait_to_be_loaded_while_too_much_lies_before_the_model(
    settings: Settings,
    space: Space,
    connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also those of the first claims, made before anybody knew how large their input is."""
    size, room = 3 * 8 * 8, 20
    monkeypatch.setattr(worker_module, "INPUT_BYTES", room * size)
    settings = settings.model_copy(update={"batch_size": 2})
    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref) "
        "SELECT 'image', n::text, 'image', n::text FROM generate_series(1, 200) AS n"
    )

    seen: list[int] = []

    def look(contents: Sequence[bytes]) -> None:
        time.sleep(0.01)  # slower than loading
        seen.append(worker._input.bytes)

    worker = make_worker(
        settings, space, FakeEmbedder(before=look), load=numbered, decode=numbered_image
    )
    assert worker.run().done == 200
    # Each thread that loads may be about to add one.
    assert room * size // 2 < max(seen) < (room + settings.load_workers) * size
    assert worker._input.bytes == 0


def test_the_input_of_an_image_goes_before_it_is_written(
    settings: Settings, space: Space, connection: Connection
) -> None:
    """Kept until then it would be in memory twice: what waits, and what is being written."""
    made: list[weakref.ref[Any]] = []
    alive: list[int] = []

    class Remembering(FakeEmbedder):
        def prepare_image(self, image: Any) -> Any:
            pixels = super().prepare_image(image)
            made.append(weakref.ref(pixels))
            return pixels

    def write(*arguments: Any) -> Any:
        deadline = time.monotonic() + 10  # the stages before may not have let go yet
        while any(ref() is not None for ref in made) and time.monotonic() < deadline:
            time.sleep(0.01)
        alive.append(sum(ref() is not None for ref in made))
        return finish(*arguments)

    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref) "
        "SELECT 'image', n::text, 'image', n::text FROM generate_series(1, 20) AS n"
    )
    worker = make_worker(settings, space, Remembering(), load=numbered, decode=numbered_image)
    finish = worker._writer.finish
    worker._writer.finish = write  # type: ignore[method-assign]
    assert worker.run().done == 20
    assert (len(made), set(alive)) == (20, {0})
    assert worker._input._parts == 0


def test_rows_not_yet_begun_go_back_at_once_when_the_worker_is_to_stop(
    settings: Settings, space: Space, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """Not only with the end of the grace period, which a load that takes long waits for."""
    begun, go_on = threading.Event(), threading.Event()

    def load(reference: str) -> LoadedContent:
        begun.set()
        assert go_on.wait(60)
        return numbered(reference)

    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref) "
        "SELECT 'image', n::text, 'image', n::text FROM generate_series(1, 20) AS n"
    )
    settings = settings.model_copy(
        update={"load_workers": 1, "grace_seconds": 90.0, "lease_seconds": 3600.0}
    )
    worker = make_worker(settings, space, load=load, decode=numbered_image, once=False)
    jobs = "SELECT state, attempts, count(*) FROM ingest_jobs GROUP BY 1, 2 ORDER BY 1, 2"
    with running(worker):
        assert begun.wait(60)
        worker.stop()
        expected = [("pending", 0, 19), ("running", 1, 1)]
        wait_until(lambda: connection.execute(jobs).fetchall() == expected, "the release")
        go_on.set()
    assert connection.execute(jobs).fetchall() == [("pending", 0, 19)]
    assert worker.report.done == 1
    assert caplog.text == ""


def test_limit_bounds_the_rows_of_a_run(
    settings: Settings, space: Space, connection: Connection
) -> None:
    add_texts(connection, [f"text {n}" for n in range(30)])
    assert work(settings, space, limit=7).done == 7
    assert status.counts(connection, space.id).pending == 23
