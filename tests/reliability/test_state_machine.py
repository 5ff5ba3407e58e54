"""The queue is right in any order of claim, heartbeat, expire, finish, fail, change, delete, retry.

The invariants are those of the other modules: no two live leases on a row, no stale vector, no
orphan, nothing lost. The tests own the clock: a lease lapses when the machine says so.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from pipeline import spaces
from pipeline.errors import PermanentRowError, TransientRowError
from pipeline.jobs import ClaimedJob
from pipeline.postgres.connections import Connection, connect
from pipeline.queue import claims, failures
from pipeline.queue.backoff import Backoff
from pipeline.queue.sweep import sweep
from pipeline.spaces.items import Writer, Written
from tests.reliability.test_changes import finished

WORKERS = ("ann", "bob", "eve")
MAX_ATTEMPTS = 4
Claim = tuple[str, ClaimedJob]


class QueueMachine(RuleBasedStateMachine):
    """A model of what must be true beside the real queue."""

    connection: Connection
    claims = Bundle("claims")

    @initialize()
    def begin(self) -> None:
        self.connection.execute("DELETE FROM source_items")
        self.space = spaces.active_space(self.connection)
        self.content: dict[int, str] = {}  # what the source table holds
        self.holders: dict[int, Claim] = {}  # who holds a lease that has not ended
        self.failed: set[int] = set()
        self.serial = 0

    def _row(self, number: int) -> int:
        return sorted(self.content)[number % len(self.content)]

    # the source table

    @rule(count=st.integers(1, 4))
    def insert(self, count: int) -> None:
        for _ in range(count):
            self.serial += 1
            row = self.connection.execute(
                "INSERT INTO source_items (source, source_key, modality, content_ref) "
                "VALUES ('m', %s, 'text', %s) RETURNING id",
                (str(self.serial), f"content {self.serial}"),
            ).fetchone()
            assert row is not None
            self.content[row[0]] = f"content {self.serial}"

    # Few rules that choose, rather than many: hypothesis leaves rules out at random, and most
    # mistakes need one of each kind.

    @rule(number=st.integers(0, 50), gone=st.booleans())
    def change(self, number: int, gone: bool) -> None:
        if self.content:
            (self._delete if gone else self._update)(self._row(number))

    def _update(self, source_id: int) -> None:
        self.serial += 1
        self.content[source_id] = f"content {self.serial}"
        self.connection.execute(
            "UPDATE source_items SET content_ref = %s WHERE id = %s",
            (self.content[source_id], source_id),
        )
        self.holders.pop(source_id, None)
        self.failed.discard(source_id)

    def _delete(self, source_id: int) -> None:
        self.connection.execute("DELETE FROM source_items WHERE id = %s", (source_id,))
        del self.content[source_id]
        self.holders.pop(source_id, None)
        self.failed.discard(source_id)

    # the workers

    @rule(
        target=claims,
        worker=st.sampled_from(WORKERS),
        limit=st.integers(1, 5),
        alone=st.sampled_from([False, False, True]),
    )
    def claim(self, worker: str, limit: int, alone: bool) -> Any:
        jobs = claims.claim(
            self.connection, self.space.id, worker, 1 if alone else limit, 60, suspects=alone
        )
        assert len(jobs) <= limit
        for job in jobs:
            assert job.source_id not in self.holders, "claimed although somebody holds it"
            assert job.source_id not in self.failed
            assert job.content_ref == self.content[job.source_id]
            self.holders[job.source_id] = (worker, job)
        return multiple(*[(worker, job) for job in jobs])

    def _holds(self, claim: Claim) -> bool:
        return self.holders.get(claim[1].source_id) == claim

    @rule(claim=claims)
    def heartbeat(self, claim: Claim) -> None:
        worker, job = claim
        held_by_worker = self.holders.get(job.source_id, ("", None))[0] == worker
        count = claims.heartbeat(self.connection, self.space.id, worker, [job.source_id], 60)
        assert count == int(held_by_worker)

    @rule(
        claim=consumes(claims),
        end=st.sampled_from(["finish", "finish", "fail", "fail for good", "release"]),
        parts=st.integers(1, 3),
    )
    def end(self, claim: Claim, end: str, parts: int) -> None:
        match end:
            case "finish":
                self._finish(claim, parts)
            case "release":
                self._release(claim)
            case _:
                self._fail(claim, permanent=end == "fail for good")

    def _finish(self, claim: Claim, parts: int) -> None:
        worker, job = claim
        written = Writer(self.space).finish(self.connection, worker, [finished(job, parts)])
        if self._holds(claim):
            assert written == Written(1, parts)
            del self.holders[job.source_id]
        else:
            assert written == Written(0, 0), "a stale claim wrote"

    def _fail(self, claim: Claim, *, permanent: bool) -> None:
        worker, job = claim
        error = (
            PermanentRowError("truncated", "x") if permanent else TransientRowError("timeout", "x")
        )
        states = claims.fail(
            self.connection,
            self.space.id,
            worker,
            [(job, error)],
            max_attempts=MAX_ATTEMPTS,
            backoff=Backoff(0, 0),
        )
        if not self._holds(claim):
            assert states == {}, "a stale claim failed a row"
            return
        del self.holders[job.source_id]
        gone = permanent or job.attempts >= MAX_ATTEMPTS
        assert states == {job.source_id: "failed" if gone else "pending"}
        if gone:
            self.failed.add(job.source_id)

    def _release(self, claim: Claim) -> None:
        worker, job = claim
        count = claims.release(self.connection, self.space.id, worker, [job.source_id])
        # By worker, not by claim: a worker releases what it holds of a row, whichever claim it is.
        held = self.holders.get(job.source_id)
        assert count == int(held is not None and held[0] == worker)
        if count:
            del self.holders[job.source_id]

    @rule(worker=st.sampled_from(WORKERS), expire=st.booleans())
    def keep_house(self, worker: str, expire: bool) -> None:
        if expire:
            self._expire(worker)
        else:
            self._retry()

    def _expire(self, worker: str) -> None:
        self.connection.execute(
            "UPDATE ingest_jobs SET leased_until = now() - interval '1 s' WHERE worker = %s",
            (worker,),
        )
        lost = [source_id for source_id, held in self.holders.items() if held[0] == worker]
        assert sweep(self.connection, MAX_ATTEMPTS) == len(lost)
        for source_id in lost:
            del self.holders[source_id]
        rows = self.connection.execute(
            "SELECT source_id FROM ingest_jobs WHERE state = 'failed'"
        ).fetchall()
        self.failed |= {row[0] for row in rows if row[0] in lost}

    def _retry(self) -> None:
        assert failures.retry(self.connection) == len(self.failed)
        self.failed.clear()

    # what is true at any time

    @invariant()
    def the_database_agrees(self) -> None:
        if not hasattr(self, "content"):
            return
        jobs = {
            row[0]: row[1:]
            for row in self.connection.execute("SELECT source_id, state, worker FROM ingest_jobs")
        }
        items: dict[int, set[str]] = {}
        for source_id, ref in self.connection.execute(
            "SELECT source_id, content_ref FROM multimodal_items"
        ):
            items.setdefault(source_id, set()).add(ref)
        assert set(jobs) | set(items) <= set(self.content), "an orphan"
        for source_id, content in self.content.items():
            if source_id not in jobs:
                assert items.get(source_id) == {content}, "lost: no job, and no item of it either"
            else:
                assert len(items.get(source_id, ())) <= 1
        running = {i: worker for i, (state, worker) in jobs.items() if state == "running"}
        assert running == {i: worker for i, (worker, _) in self.holders.items()}
        assert {i for i, (state, _) in jobs.items() if state == "failed"} == self.failed


@contextmanager
def machine_on(url: str) -> Iterator[type[QueueMachine]]:
    with connect(url) as connection:

        class Machine(QueueMachine):
            pass

        Machine.connection = connection
        yield Machine


@pytest.mark.parametrize(
    ("examples", "steps"),
    [(30, 30), pytest.param(1500, 60, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])],
)
def test_the_queue_is_right_in_any_order(url: str, examples: int, steps: int) -> None:
    with machine_on(url) as machine:
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                derandomize=examples < 100,
                suppress_health_check=list(HealthCheck),
            ),
        )
