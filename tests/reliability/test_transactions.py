"""Transactions are short and do not deadlock, however long the model takes."""

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from pipeline.errors import TransientRowError
from pipeline.postgres.connections import Connection, connect
from pipeline.queue import claims, failures
from pipeline.queue.backoff import Backoff
from pipeline.queue.sweep import sweep
from pipeline.settings import Settings
from pipeline.sources import source_items
from pipeline.sources.source_items import AddReport, NewSource
from pipeline.spaces import Space
from pipeline.spaces.items import Writer
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.workers import make_worker, running
from tests.reliability.test_changes import finished


@pytest.mark.parametrize(
    ("sleep", "rows"),
    [(1.0, 30), pytest.param(5.0, 120, marks=pytest.mark.soak)],
)
def test_no_transaction_is_open_while_the_model_works(
    settings: Settings, space: Space, connection: Connection, sleep: float, rows: int
) -> None:
    """Sampled: none of ours idle in transaction, and no snapshot held, longer than 200 ms."""
    add_texts(connection, [f"text {n}" for n in range(rows)])
    slow = FakeEmbedder(before=lambda _: time.sleep(sleep))
    settings = settings.model_copy(update={"claim_size": 16, "lease_seconds": 1.0})
    samples, offenders = 0, []
    worker = make_worker(settings, space, slow, once=False)
    with running(worker):
        while worker.report.done < rows:
            offenders += connection.execute(
                """
                SELECT application_name, state, query, clock_timestamp() - xact_start
                FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()
                    AND backend_type = 'client backend'
                    AND (state = 'idle in transaction' OR backend_xmin IS NOT NULL)
                    AND clock_timestamp() - greatest(xact_start, state_change) > interval '200 ms'
                """
            ).fetchall()
            samples += 1
            time.sleep(0.02)
    assert samples > 20
    assert offenders == []


@pytest.mark.parametrize(
    "seconds", [6.0, pytest.param(60.0, marks=[pytest.mark.soak, pytest.mark.timeout(600)])]
)
def test_eight_writers_over_the_same_shuffled_rows_never_deadlock(
    url: str, space: Space, connection: Connection, seconds: float
) -> None:
    keys = [f"key {n}" for n in range(60)]
    until = time.monotonic() + seconds
    errors: list[BaseException] = []
    done: dict[str, int] = {}

    def run(seed: int) -> None:
        mine = random.Random(seed)
        try:
            with connect(url) as own:
                while time.monotonic() < until:
                    name, action = mine.choice(list(ACTIONS.items()))
                    action(own, space, mine, keys)
                    done[name] = done.get(name, 0) + 1
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(8)]
    before = deadlocks(connection)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 120)
    assert errors == []
    assert set(done) == set(ACTIONS)
    print(f"{seconds:.0f} s, 8 writers: {done}")
    assert deadlocks(connection) == before


def deadlocks(connection: Connection) -> int:
    row = connection.execute(
        """
        SELECT pg_stat_get_db_deadlocks(oid) FROM pg_database
        WHERE datname = current_database()
        """
    ).fetchone()
    assert row is not None
    return int(row[0])


def add(own: Connection, space: Space, mine: random.Random, keys: list[str]) -> None:
    some = mine.sample(keys, 30)
    rows = [NewSource("t", key, "text", f"{key} {mine.random()}") for key in some]
    source_items.add(own, rows, AddReport())


def write(own: Connection, space: Space, mine: random.Random, keys: list[str]) -> None:
    worker = claims.new_worker_id()
    jobs = claims.claim(own, space.id, worker, 40, 60)
    mine.shuffle(jobs)
    claims.heartbeat(own, space.id, worker, [job.source_id for job in jobs], 60)
    Writer(space).finish(own, worker, [finished(job) for job in jobs[:30]])
    failures = [(job, TransientRowError("timeout", "x")) for job in jobs[30:35]]
    claims.fail(own, space.id, worker, failures, max_attempts=1, backoff=Backoff(0, 0))
    claims.release(own, space.id, worker)


def write_what_others_hold(
    own: Connection, space: Space, mine: random.Random, keys: list[str]
) -> None:
    """The same rows at once, in another order: what a worker with lapsed leases does."""
    held = own.execute(
        "SELECT j.worker, j.source_id, j.version, j.attempts FROM ingest_jobs AS j "
        "WHERE state = 'running'"
    ).fetchall()
    mine.shuffle(held)
    for worker in {row[0] for row in held}:
        jobs = [
            claims.ClaimedJob(space.id, row[1], row[2], row[3], "text", "stolen", "{}")
            for row in held
            if row[0] == worker
        ]
        Writer(space).finish(own, worker, [finished(job) for job in jobs])


def delete(own: Connection, space: Space, mine: random.Random, keys: list[str]) -> None:
    # In the order of the keys, as `pipeline add`: two statements of users that lock the same
    # source items in different orders deadlock with each other, whatever we do.
    own.execute(
        """
        DELETE FROM source_items WHERE id IN (SELECT id FROM source_items
            WHERE source_key = ANY (%s) ORDER BY source, source_key FOR UPDATE)
        """,
        (mine.sample(keys, 3),),
    )


def keep_house(own: Connection, space: Space, mine: random.Random, keys: list[str]) -> None:
    own.execute(
        """
        UPDATE ingest_jobs SET leased_until = now() - interval '1 s' WHERE (space_id, source_id) IN
            (SELECT space_id, source_id FROM ingest_jobs WHERE state = 'running'
             ORDER BY space_id, source_id FOR UPDATE SKIP LOCKED LIMIT 5)
        """
    )
    sweep(own, 100)
    failures.retry(own)


ACTIONS: dict[str, Callable[[Connection, Space, random.Random, list[str]], Any]] = {
    "add": add,
    "write": write,
    "write what others hold": write_what_others_hold,
    "delete": delete,
    "keep house": keep_house,
}


def test_a_truncate_between_claims_never_deadlocks(
    url: str, space: Space, connection: Connection
) -> None:
    """TRUNCATE locks the source table and then the queue; so do claims."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            with connect(url) as own:
                while not stop.is_set():
                    write(own, space, random.Random(1), [])
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=run) for _ in range(3)]
    before = deadlocks(connection)
    for thread in threads:
        thread.start()
    try:
        for _ in range(30):
            add_texts(connection, [f"text {n}" for n in range(50)])
            connection.execute("TRUNCATE source_items")
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert errors == []
    assert deadlocks(connection) == before


def test_the_loser_of_a_deadlock_with_somebody_elses_transaction_tries_again(
    url: str, space: Space, connection: Connection, settings: Settings
) -> None:
    """Whoever locks our rows in another order may win; the worker repeats its statement."""
    add_texts(connection, ["one"])
    refused: list[int] = []

    worker = make_worker(settings, space)
    original = worker._writer.finish

    def once(*arguments: Any) -> Any:
        if not refused:
            refused.append(1)
            raise psycopg.errors.DeadlockDetected("deadlock detected")
        return original(*arguments)

    worker._writer.finish = once  # type: ignore[method-assign]
    assert worker.run().done == 1
