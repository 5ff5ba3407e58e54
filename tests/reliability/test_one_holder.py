"""Nobody but the lease's holder works on a row; a claim takes no more than it asked for."""

import threading
from collections import defaultdict
from datetime import datetime

import pytest

from pipeline.postgres.connections import Connection, connect
from pipeline.queue import claims
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.workers import assert_embedded_once, make_worker

# Every claim and every end of one, in the order and at the time the database saw them.
JOURNAL = """
CREATE TABLE journal (at timestamptz, source_id bigint, attempts int, worker text, event text);
CREATE FUNCTION journal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state = 'running' AND (TG_OP = 'DELETE' OR NEW.state <> 'running') THEN
        INSERT INTO journal VALUES
            (clock_timestamp(), OLD.source_id, OLD.attempts, OLD.worker, 'ended');
    ELSIF TG_OP = 'UPDATE' AND NEW.state = 'running'
        AND (OLD.worker, OLD.attempts) IS DISTINCT FROM (NEW.worker, NEW.attempts) THEN
        INSERT INTO journal VALUES
            (clock_timestamp(), NEW.source_id, NEW.attempts, NEW.worker, 'claimed');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER journal AFTER UPDATE OR DELETE ON ingest_jobs
    FOR EACH ROW EXECUTE FUNCTION journal();
"""


def test_the_claims_of_a_row_never_overlap(
    settings: Settings, space: Space, connection: Connection
) -> None:
    """Six workers, some of whose rows fail, some of whose leases are made to lapse."""
    texts = [f"text number {n}" for n in range(300)]
    add_texts(connection, texts)
    connection.execute(JOURNAL)
    failed_once: set[bytes] = set()

    def sometimes_fail(contents: object) -> None:
        assert isinstance(contents, list)
        for content in contents:
            if content.endswith(b"7") and content not in failed_once:
                if len(contents) == 1:
                    failed_once.add(content)
                raise RuntimeError("the first time it fails")

    quick = settings.model_copy(update={"claim_size": 8, "batch_size": 4, "max_attempts": 1000})
    workers = [
        make_worker(quick, space, FakeEmbedder(before=sometimes_fail), once=False) for _ in range(6)
    ]
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        while connection.execute("SELECT 1 FROM ingest_jobs LIMIT 1").fetchone():
            connection.execute(
                """
                UPDATE ingest_jobs SET leased_until = now() - interval '1 s'
                WHERE state = 'running' AND source_id % 5 = 0 AND attempts = 1
                """
            )
    finally:
        for worker in workers:
            worker.stop()
        for thread in threads:
            thread.join(60)
    events: dict[int, list[tuple[datetime, str, str, int]]] = defaultdict(list)
    for at, source_id, attempts, worker_id, event in connection.execute(
        "SELECT * FROM journal ORDER BY at"
    ):
        events[source_id].append((at, event, worker_id, attempts))
    connection.execute("DROP FUNCTION journal() CASCADE; DROP TABLE journal")
    assert len(events) == 300
    for of_row in events.values():
        assert [event for _, event, _, _ in of_row] == ["claimed", "ended"] * (len(of_row) // 2)
        for claimed, ended in zip(of_row[::2], of_row[1::2], strict=True):
            assert claimed[2:] == ended[2:]
        holders = [claim[2:] for claim in of_row[::2]]
        assert len(set(holders)) == len(holders)
    assert any(len(of_row) > 2 for of_row in events.values())
    assert_embedded_once(connection, texts)


def test_claims_at_the_same_moment_share_the_rows(
    url: str, space: Space, connection: Connection
) -> None:
    add_texts(connection, [f"text {n}" for n in range(400)])
    claimed: list[list[int]] = [[] for _ in range(8)]
    gate = threading.Barrier(8)

    def claim_all(mine: list[int]) -> None:
        with connect(url) as own:
            worker = claims.new_worker_id()
            gate.wait()
            while jobs := claims.claim(own, space.id, worker, 10, 60):
                mine.extend(job.source_id for job in jobs)

    threads = [threading.Thread(target=claim_all, args=(mine,)) for mine in claimed]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    everything = [source_id for mine in claimed for source_id in mine]
    assert len(everything) == len(set(everything)) == 400


@pytest.mark.parametrize("stale", [False, True])
def test_a_claim_takes_no_more_than_its_batch_under_a_nested_loop(
    space: Space, connection: Connection, stale: bool
) -> None:
    if stale:
        # The planner believes in an empty table and joins row by row.
        connection.execute("TRUNCATE source_items; ANALYZE ingest_jobs")
    add_texts(connection, [f"text {n}" for n in range(200)])
    if not stale:
        connection.execute("ANALYZE ingest_jobs")
    # Only a nested loop over a subselect is left then, run again for every row: with these settings
    # the form `WHERE (...) IN (SELECT ... LIMIT 5 FOR UPDATE SKIP LOCKED)` claims all 200 rows.
    for kind in ("hashjoin", "mergejoin", "hashagg", "sort", "material"):
        connection.execute(f"SET enable_{kind} = off")
    for limit in (1, 5, 64):
        assert len(claims.claim(connection, space.id, "w", limit, 60)) == limit
