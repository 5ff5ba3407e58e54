"""A source item that changes or goes while it is embedded: no stale vector, no orphan."""

import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from pipeline.errors import TransientRowError
from pipeline.jobs import ClaimedJob, EmbeddedItem, FinishedJob
from pipeline.postgres.connections import Connection, connect
from pipeline.queue import claims, failures, locked
from pipeline.queue.backoff import Backoff
from pipeline.queue.sweep import sweep
from pipeline.settings import Settings
from pipeline.spaces import Space
from pipeline.spaces.items import Writer, Written
from tests.helpers.fakes import FakeEmbedder, add_texts, vector_of
from tests.helpers.processes import Pipeline, wait_until
from tests.helpers.workers import assert_embedded_once, make_worker, running


def finished(job: ClaimedJob, parts: int = 1) -> FinishedJob:
    """What the stages would have made of this claim."""
    content = job.content_ref.encode()
    return FinishedJob(
        job,
        [
            EmbeddedItem(n, job.content_ref, "{}", {}, content, vector_of(content))
            for n in range(parts)
        ],
    )


def stored(connection: Connection) -> list[Any]:
    return connection.execute(
        "SELECT part, content_ref FROM multimodal_items ORDER BY source_id, part"
    ).fetchall()


def test_a_worker_stopped_past_its_lease_overwrites_nothing(
    url: str,
    connection: Connection,
    settings: Settings,
    space: Space,
    pipeline: Callable[..., Pipeline],
) -> None:
    """SIGSTOP in mid-embedding, another worker finishes, the row changes again, SIGCONT."""
    add_texts(connection, ["first"])
    asleep = pipeline(url, "ingest", "--watch", faults={"delay": 1.5}, lease_seconds=1.0)
    wait_until(
        lambda: connection.execute("SELECT 1 FROM ingest_jobs WHERE state = 'running'").fetchone(),
        "the claim",
    )
    asleep.signal(signal.SIGSTOP)
    with running(make_worker(settings, space, once=False)):
        wait_until(lambda: stored(connection) == [(0, "first")], "the other worker")
    connection.execute("UPDATE source_items SET content_ref = 'second'")
    with running(make_worker(settings, space, once=False)):
        wait_until(lambda: stored(connection) == [(0, "second")], "the other worker again")
    before = connection.execute("SELECT id, xmin::text FROM multimodal_items").fetchall()
    asleep.signal(signal.SIGCONT)
    add_texts(connection, ["the next"], source="later")  # when it is done, the old one is through
    wait_until(lambda: len(stored(connection)) == 2, "the worker to go on")
    asleep.signal(signal.SIGTERM)
    assert asleep.wait() == 0
    after = connection.execute("SELECT id, xmin::text FROM multimodal_items ORDER BY id").fetchall()
    assert after[:1] == before
    assert stored(connection)[0] == (0, "second")


@pytest.mark.parametrize("lost_by", ["update", "sweep", "release", "retry of a failure"])
def test_a_claim_that_no_longer_holds_touches_no_row(
    connection: Connection, space: Space, lost_by: str
) -> None:
    add_texts(connection, ["content"])
    (job,) = claims.claim(connection, space.id, "me", 1, 60)
    match lost_by:
        case "update":
            connection.execute("UPDATE source_items SET content_ref = 'new content'")
        case "sweep":
            connection.execute("UPDATE ingest_jobs SET leased_until = now() - interval '1 s'")
            sweep(connection, 5)
        case "release":
            claims.release(connection, space.id, "me")
        case _:
            connection.execute(
                "UPDATE ingest_jobs SET state = 'failed', error_code = 'timeout', worker = NULL,"
                " leased_until = NULL"
            )
            failures.retry(connection)
    (other,) = claims.claim(connection, space.id, "other", 1, 60)
    before = connection.execute("SELECT ctid, * FROM ingest_jobs").fetchall()
    assert Writer(space).finish(connection, "me", [finished(job)]) == Written(0, 0)
    assert claims.heartbeat(connection, space.id, "me", [job.source_id], 60) == 0
    assert claims.release(connection, space.id, "me", [job.source_id]) == 0
    failure = (job, TransientRowError("timeout", "no answer"))
    states = claims.fail(
        connection, space.id, "me", [failure], max_attempts=5, backoff=Backoff(1, 2)
    )
    assert states == {}
    assert connection.execute("SELECT ctid, * FROM ingest_jobs").fetchall() == before
    assert stored(connection) == []
    assert Writer(space).finish(connection, "other", [finished(other)]) == Written(1, 1)


def test_a_lapsed_claim_that_the_same_worker_made_again_touches_no_row(
    connection: Connection, space: Space
) -> None:
    """The same worker, the same version: the attempt alone tells the two claims apart."""
    add_texts(connection, ["content"])
    (lapsed,) = claims.claim(connection, space.id, "me", 1, 60)
    connection.execute("UPDATE ingest_jobs SET leased_until = now() - interval '1 s'")
    sweep(connection, 5)
    (good,) = claims.claim(connection, space.id, "me", 1, 60)
    assert (good.version, good.attempts) == (lapsed.version, lapsed.attempts + 1)
    failure = (lapsed, TransientRowError("timeout", "no answer"))
    assert (
        claims.fail(connection, space.id, "me", [failure], max_attempts=5, backoff=Backoff(1, 2))
        == {}
    )
    assert Writer(space).finish(connection, "me", [finished(lapsed)]) == Written(0, 0)
    assert Writer(space).finish(connection, "me", [finished(good)]) == Written(1, 1)


def test_a_claim_from_before_a_retry_touches_no_row(connection: Connection, space: Space) -> None:
    """The same worker, the first attempt again: the version alone tells the two claims apart."""
    add_texts(connection, ["content"])
    (stale,) = claims.claim(connection, space.id, "me", 1, 60)
    connection.execute(
        "UPDATE ingest_jobs SET state = 'failed', error_code = 'timeout', worker = NULL, "
        "leased_until = NULL"
    )
    failures.retry(connection)
    (good,) = claims.claim(connection, space.id, "me", 1, 60)
    assert good.attempts == stale.attempts
    assert Writer(space).finish(connection, "me", [finished(stale)]) == Written(0, 0)
    assert Writer(space).finish(connection, "me", [finished(good)]) == Written(1, 1)


def test_a_stale_claim_beside_the_good_one_of_the_same_row_writes_nothing(
    connection: Connection, space: Space
) -> None:
    """One worker may hold a row twice: as it was, and as it is since an update."""
    add_texts(connection, ["old and long"])
    (stale,) = claims.claim(connection, space.id, "me", 1, 60)
    connection.execute("UPDATE source_items SET content_ref = 'new'")
    (good,) = claims.claim(connection, space.id, "me", 1, 60)
    assert good.attempts == stale.attempts  # the version alone tells them apart
    failure = (stale, TransientRowError("timeout", "no answer"))
    assert (
        claims.fail(connection, space.id, "me", [failure], max_attempts=5, backoff=Backoff(1, 2))
        == {}
    )
    assert list(locked.held(connection, space.id, "me", [stale, good])) == [good.fence]
    assert locked.held(connection, space.id, "other", [stale, good]) == {}
    both = [finished(stale, parts=3), finished(good)]
    assert Writer(space).finish(connection, "me", both) == Written(1, 1)
    assert stored(connection) == [(0, "new")]


def during_embedding(change: Callable[[], None]) -> FakeEmbedder:
    """An embedder in the middle of whose first batch ``change`` happens."""
    changed = threading.Event()

    def once(_: Sequence[bytes]) -> None:
        if not changed.is_set():
            changed.set()
            change()

    return FakeEmbedder(before=once)


def test_an_update_during_the_work_is_embedded(
    settings: Settings, space: Space, connection: Connection
) -> None:
    add_texts(connection, ["one", "two", "three"])

    def change() -> None:
        connection.execute("UPDATE source_items SET content_ref = 'two!' WHERE content_ref = 'two'")

    report = make_worker(settings, space, during_embedding(change)).run()
    assert report.done == 3
    assert_embedded_once(connection, ["one", "two!", "three"])


def test_a_change_of_metadata_alone_reaches_the_item_and_not_the_model(
    settings: Settings, space: Space, connection: Connection
) -> None:
    add_texts(connection, ["one", "two"])
    make_worker(settings, space).run()
    before = connection.execute("SELECT id, content_ref FROM multimodal_items ORDER BY id")
    connection.execute(
        "UPDATE source_items SET metadata = '{\"label\": \"cat\"}' WHERE content_ref = 'two'"
    )
    assert connection.execute("SELECT * FROM ingest_jobs").fetchall() == []
    rows = connection.execute(
        "SELECT id, content_ref, metadata FROM multimodal_items ORDER BY id"
    ).fetchall()
    assert [row[:2] for row in rows] == before.fetchall()
    assert [row[2] for row in rows] == [{}, {"label": "cat"}]


def test_a_change_of_what_is_not_embedded_makes_no_work(
    settings: Settings, space: Space, connection: Connection
) -> None:
    add_texts(connection, ["one", "two"])
    make_worker(settings, space).run()
    connection.execute("UPDATE source_items SET source_key = 'k' || source_key")
    connection.execute("UPDATE source_items SET content_ref = content_ref, metadata = metadata")
    assert connection.execute("SELECT * FROM ingest_jobs").fetchall() == []


def test_a_delete_during_the_work_leaves_no_item_and_no_job(
    settings: Settings, space: Space, connection: Connection
) -> None:
    add_texts(connection, ["one", "two", "three"])

    def change() -> None:
        connection.execute("DELETE FROM source_items WHERE content_ref = 'two'")

    report = make_worker(settings, space, during_embedding(change)).run()
    assert report.done == 2
    assert_embedded_once(connection, ["one", "three"])


def test_a_delete_takes_the_items_with_it(
    settings: Settings, space: Space, connection: Connection
) -> None:
    add_texts(connection, ["one", "two", "three"])
    make_worker(settings, space).run()
    connection.execute("DELETE FROM source_items WHERE content_ref = 'two'")
    assert_embedded_once(connection, ["one", "three"])


def test_a_delete_that_meets_a_write_takes_what_it_wrote(
    url: str, space: Space, connection: Connection
) -> None:
    """It waits for the job, of which the worker has just written the items, and sees them then."""
    add_texts(connection, ["one"])
    (job,) = claims.claim(connection, space.id, "me", 1, 60)

    def delete() -> None:
        with connect(url, role="deleting") as own:
            own.execute("DELETE FROM source_items")

    thread = threading.Thread(target=delete)
    with connection.transaction(), connect(url) as observer:
        assert Writer(space).finish(connection, "me", [finished(job)]) == Written(1, 1)
        thread.start()
        waiting = (
            "SELECT 1 FROM pg_stat_activity WHERE application_name = 'deleting' "
            "AND wait_event_type = 'Lock'"
        )
        wait_until(lambda: observer.execute(waiting).fetchone(), "the delete to wait")
    thread.join(60)
    assert stored(connection) == []
    assert connection.execute("SELECT * FROM ingest_jobs").fetchall() == []


def test_a_truncate_during_the_work_leaves_nothing(
    settings: Settings, space: Space, connection: Connection
) -> None:
    add_texts(connection, ["one", "two", "three"])
    make_worker(settings, space).run()
    connection.execute("UPDATE source_items SET content_ref = content_ref || '!'")
    worker = make_worker(
        settings, space, during_embedding(lambda: void(connection, "TRUNCATE source_items"))
    )
    assert worker.run().done == 0
    assert connection.execute("SELECT * FROM ingest_jobs").fetchall() == []
    assert stored(connection) == []


def void(connection: Connection, statement: Any) -> None:
    connection.execute(statement)


def test_a_job_without_its_source_item_goes_at_the_claim(
    connection: Connection, space: Space
) -> None:
    connection.execute("INSERT INTO ingest_jobs (space_id, source_id) VALUES (%s, 77)", (space.id,))
    assert claims.claim(connection, space.id, "w", 10, 60) == []
    assert connection.execute("SELECT * FROM ingest_jobs").fetchall() == []


def test_a_bulk_load_costs_one_call_of_the_trigger(connection: Connection) -> None:
    connection.execute("SET track_functions = 'pl'")
    with connection.transaction():
        connection.execute(
            """
            INSERT INTO source_items (source, source_key, modality, content_ref)
            SELECT 'bulk', n::text, 'text', 'row ' || n FROM generate_series(1, 2000) AS n
            """
        )
        row = connection.execute(
            """
            SELECT funcname, calls FROM pg_stat_xact_user_functions
            WHERE funcname LIKE 'source_items_%'
            """
        ).fetchall()
    assert row == [("source_items_inserted", 1)]
    count = connection.execute("SELECT count(*) FROM ingest_jobs").fetchone()
    assert count == (2000,)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_the_trigger_on_a_bulk_load_of_a_million_rows_costs_at_most_its_price(
    connection: Connection,
) -> None:
    """At most 2.5 times the time of the same insert without the trigger."""

    def seconds() -> float:
        connection.execute("TRUNCATE source_items")
        connection.execute("CHECKPOINT")
        began = time.monotonic()
        connection.execute(
            """
            INSERT INTO source_items (source, source_key, modality, content_ref)
            SELECT 'bulk', n::text, 'text', 'the text of row ' || n
            FROM generate_series(1, 1000000) AS n
            """
        )
        return time.monotonic() - began

    pairs = []
    for _ in range(3):
        connection.execute("ALTER TABLE source_items DISABLE TRIGGER source_items_inserted")
        without = seconds()
        connection.execute("ALTER TABLE source_items ENABLE TRIGGER source_items_inserted")
        pairs.append((without, seconds()))
    ratios = sorted(with_it / without for without, with_it in pairs)
    print(f"1,000,000 rows, (without, with) the trigger: {pairs}, ratios {ratios}")
    assert ratios[1] <= 2.5
