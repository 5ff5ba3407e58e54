"""The queue stays as quick as it was, and the worker as small, however many jobs go through."""

import itertools
import os
import re
import threading
import time
from pathlib import Path
from typing import Any, LiteralString

import numpy as np
import pytest

from pipeline.postgres.connections import Connection
from pipeline.queue import claims
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.fakes import FAKE_DIMENSIONS, FakeEmbedder
from tests.helpers.workers import make_worker

MIB = 2**20


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def number(connection: Connection, query: LiteralString) -> float:
    row = connection.execute(query).fetchone()
    assert row is not None
    return float(row[0])


class QuickEmbedder(FakeEmbedder):
    """One vector for everything: a million hashes would be most of the time."""

    vector = np.eye(1, FAKE_DIMENSIONS, dtype=np.float32)

    def embed(self, contents: list[bytes]) -> Any:
        return np.repeat(self.vector, len(contents), axis=0)


@pytest.mark.parametrize(
    "rows",
    [
        10_000,
        pytest.param(1_000_000, marks=[pytest.mark.soak, pytest.mark.timeout(3600)]),
    ],
)
def test_a_long_queue_is_worked_off_evenly(
    settings: Settings, space: Space, connection: Connection, rows: int
) -> None:
    # The items' own indexes are no part of the queue, and HNSW on equal vectors is slow.
    connection.execute("ALTER TABLE multimodal_items_text_s1 SET UNLOGGED")
    connection.execute("DROP INDEX IF EXISTS multimodal_items_embedding")
    connection.execute(
        """
        INSERT INTO source_items (source, source_key, modality, content_ref)
        SELECT 'flat', n::text, 'text', 'row ' || n FROM generate_series(1, %s) AS n
        """,
        (rows,),
    )
    connection.execute("ANALYZE ingest_jobs")
    settings = settings.model_copy(
        update={"claim_size": 500, "batch_size": 500, "lease_seconds": 60.0, "sweep_seconds": 10.0}
    )
    worker = make_worker(settings, space, QuickEmbedder())
    marks: list[tuple[int, float, int]] = []  # rows done, when, memory
    most_dead = 0

    def watch() -> None:
        nonlocal most_dead
        tenths = itertools.count(1)
        tenth = next(tenths)
        while thread.is_alive():
            done = worker.report.done
            if done >= tenth * rows // 10:
                marks.append((done, time.monotonic(), resident_bytes()))
                tenth = next(tenths)
            row = connection.execute(
                "SELECT pg_stat_get_dead_tuples('ingest_jobs'::regclass)"
            ).fetchone()
            assert row is not None
            most_dead = max(most_dead, row[0])
            time.sleep(0.05)
        marks.append((worker.report.done, time.monotonic(), resident_bytes()))

    began = (0, time.monotonic(), resident_bytes())
    thread = threading.Thread(target=worker.run)
    thread.start()
    watch()
    thread.join()
    assert worker.report.done == rows
    steps = list(itertools.pairwise([began, *marks]))
    rates = [(b[0] - a[0]) / max(b[1] - a[1], 1e-9) for a, b in steps if b[0] > a[0]]
    growth = (marks[-1][2] - marks[0][2]) / MIB
    print(
        f"{rows} rows: {rates[0]:.0f} rows/s in the first tenth, {rates[-1]:.0f} in the last "
        f"({rates[-1] / rates[0]:.2f}), per tenth {[round(rate) for rate in rates]}; worker grew "
        f"by {growth:.0f} MiB; at most {most_dead} dead rows in the queue"
    )
    assert growth < 64
    # A claim and a finish leave a dead row each. They pile up until autovacuum looks again, and
    # while it runs: once a nap, and as long again at most.
    naptime = number(
        connection, "SELECT extract(epoch FROM current_setting('autovacuum_naptime')::interval)"
    )
    bound = 2 * max(rates) * 2 * naptime + 1000 + 0.01 * rows
    assert most_dead <= bound, f"{most_dead} dead rows, more than {bound:.0f}"
    if rows >= 1_000_000:
        assert number(
            connection,
            "SELECT autovacuum_count FROM pg_stat_user_tables WHERE relname = 'ingest_jobs'",
        )
        assert rates[-1] / rates[0] >= 0.9


def test_the_queue_is_vacuumed_by_its_own_settings(connection: Connection) -> None:
    row = connection.execute(
        "SELECT reloptions FROM pg_class WHERE oid = 'ingest_jobs'::regclass"
    ).fetchone()
    assert row is not None
    options = dict(option.split("=") for option in row[0])
    assert float(options["autovacuum_vacuum_scale_factor"]) <= 0.01
    assert int(options["autovacuum_vacuum_threshold"]) <= 1000
    assert float(options["autovacuum_vacuum_cost_delay"]) == 0


def test_a_claim_reads_only_what_it_takes_of_a_long_queue(
    connection: Connection, space: Space
) -> None:
    """By the index of pending jobs, in its order: no sort, no scan of the backlog."""
    connection.execute(
        """
        INSERT INTO source_items (source, source_key, modality, content_ref)
        SELECT 'flat', n::text, 'text', 'row ' || n FROM generate_series(1, 20000) AS n
        """
    )
    connection.execute("ANALYZE ingest_jobs")
    for suspects in (False, True):
        bounds = claims._SUSPECTS if suspects else claims._OTHERS
        given = {"space": space.id, "worker": "w", "limit": 100, "lease": 60, **bounds}
        given |= {"bytes": 10**6, "most_text": 10**6, "most_reference": 10**6}
        with connection.transaction(force_rollback=True):
            rows = connection.execute(
                "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, FORMAT JSON) " + claims._CLAIM, given
            ).fetchone()
        assert rows is not None
        plan = str(rows[0])
        assert "ingest_jobs_pending" in plan
        read_whole = re.findall(r"'Seq Scan'.*?'Relation Name': '(\w+)'", plan)
        assert set(read_whole) <= {"known_modalities"}  # some eight rows
        assert "'Sort'" not in plan
        assert "'Actual Rows': 20000" not in plan
