"""A bad row costs itself; a broken model or device costs no row."""

import logging
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from pipeline.embedders.isolation import embed_isolating
from pipeline.errors import ModelError, OutOfMemory, PermanentRowError, TransientRowError
from pipeline.postgres.connections import Connection
from pipeline.queue import claims, failures, status
from pipeline.queue.backoff import Backoff
from pipeline.queue.due import is_due
from pipeline.queue.sweep import sweep
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.processes import Pipeline
from tests.helpers.workers import assert_embedded_once, make_worker, work


def refuse(contents: Sequence[bytes]) -> None:
    if b"poison" in contents:
        raise RuntimeError("the kernel says no")


def test_one_bad_row_among_64_fails_alone_after_its_attempts(
    settings: Settings, space: Space, connection: Connection
) -> None:
    good = [f"good {n}" for n in range(63)]
    add_texts(connection, [*good, "poison"])
    settings = settings.model_copy(update={"max_attempts": 3})
    first = work(settings, space, FakeEmbedder(before=refuse), limit=64)
    assert (first.done, first.failed, first.retrying) == (63, 0, 1)
    for attempts in (2, 3):
        connection.execute("UPDATE ingest_jobs SET run_after = now()")
        report = work(settings, space, FakeEmbedder(before=refuse), limit=1)
        row = connection.execute("SELECT attempts, error_code FROM ingest_jobs").fetchone()
        assert row == (attempts, "embed_failed")
    assert (report.failed, report.retrying) == (1, 0)
    (failure,) = failures.failed_rows(connection, space.id, 10)
    assert (failure.code, failure.attempts) == ("embed_failed", 3)
    assert "the kernel says no" in failure.error
    assert failures.retry(connection) == 1
    assert work(settings, space).done == 1
    assert_embedded_once(connection, [*good, "poison"])


def test_a_row_that_failed_and_was_done_later_in_the_run_counts_as_done(
    settings: Settings, space: Space, connection: Connection
) -> None:
    failed: list[bytes] = []

    def once(contents: Sequence[bytes]) -> None:
        if len(failed) < 1:
            failed.extend(contents)
            raise RuntimeError("only the first time")

    add_texts(connection, ["one"])
    worker = make_worker(
        settings.model_copy(update={"backoff_seconds": 0.0}), space, FakeEmbedder(before=once)
    )
    report = worker.run()
    assert (report.done, report.failed, report.retrying) == (1, 0, 0)


def test_the_back_off_doubles_up_to_its_largest_with_jitter() -> None:
    backoff = Backoff(first=2.0, largest=60.0)
    for attempts, nominal in [(1, 2.0), (2, 4.0), (3, 8.0), (5, 32.0), (6, 60.0), (5000, 60.0)]:
        delays = {backoff.delay(attempts) for _ in range(200)}
        assert all(nominal / 2 <= delay <= nominal for delay in delays)
        assert len(delays) > 100
        assert max(delays) - min(delays) > nominal / 4


def test_a_row_waits_as_long_as_its_host_asks(connection: Connection, space: Space) -> None:
    add_texts(connection, ["one"])
    jobs = claims.claim(connection, space.id, "w", 1, 60)
    error = TransientRowError("busy", "429", retry_after=120.0)
    claims.fail(
        connection, space.id, "w", [(jobs[0], error)], max_attempts=5, backoff=Backoff(1, 2)
    )
    row = connection.execute(
        "SELECT run_after - now() > interval '100 s' FROM ingest_jobs"
    ).fetchone()
    assert row == (True,)


def test_a_row_that_kills_its_workers_fails_alone(
    url: str,
    settings: Settings,
    space: Space,
    connection: Connection,
    pipeline: Callable[..., Pipeline],
) -> None:
    """As the kernel does when memory runs out: no last word, only the lapsing lease."""
    good = [f"good {n}" for n in range(20)]
    add_texts(connection, [*good[:10], "killer", *good[10:]])
    kills = 0
    while True:
        run = pipeline(url, "ingest", "--once", faults={"kill_on": "killer"}, max_attempts=1)
        if run.wait() == 0:
            break
        kills += 1
        assert kills <= 2
        assert run.wait() == -9
        # The lease lapses: the tests own the clock.
        connection.execute(
            "UPDATE ingest_jobs SET leased_until = now() - interval '1 s' WHERE state = 'running'"
        )
    assert kills == 2  # among the others, and alone
    (failure,) = failures.failed_rows(connection, space.id, 10)
    assert (failure.code, failure.attempts) == ("worker_lost", 2)
    assert "if the row kills it" in failure.error
    connection.execute("DELETE FROM source_items WHERE content_ref = 'killer'")
    assert_embedded_once(connection, good)


@pytest.mark.parametrize("max_attempts", [1, 2, 5])
def test_rows_lost_with_their_worker_are_not_blamed_unless_they_were_alone(
    connection: Connection, space: Space, max_attempts: int
) -> None:
    add_texts(connection, [f"text {n}" for n in range(5)])
    for _ in range(max(1, min(2, max_attempts))):
        assert len(claims.claim(connection, space.id, "w", 5, 60)) == 5
        assert claims.claim(connection, space.id, "w", 5, 60, suspects=True) == []
        connection.execute("UPDATE ingest_jobs SET leased_until = now() - interval '1 s'")
        assert sweep(connection, max_attempts) == 5
        assert status.counts(connection, space.id).pending == 5
    assert claims.claim(connection, space.id, "w", 5, 60) == []
    assert is_due(connection, space.id, suspects=True)
    while not status.counts(connection, space.id).failed:
        assert len(claims.claim(connection, space.id, "w", 1, 60, suspects=True)) == 1
        connection.execute(
            "UPDATE ingest_jobs SET leased_until = now() - interval '1 s' WHERE state = 'running'"
        )
        sweep(connection, max_attempts)
    found = status.counts(connection, space.id)
    assert (found.pending, found.failed) == (4, 1)


def test_a_suspect_is_no_suspect_any_more_once_its_source_item_changes(
    connection: Connection, space: Space
) -> None:
    add_texts(connection, ["killer"])
    for _ in range(2):
        claims.claim(connection, space.id, "w", 1, 60)
        connection.execute("UPDATE ingest_jobs SET leased_until = now() - interval '1 s'")
        sweep(connection, 5)
    connection.execute("UPDATE source_items SET content_ref = 'harmless'")
    assert not is_due(connection, space.id, suspects=True)
    assert len(claims.claim(connection, space.id, "w", 1, 60)) == 1


def test_many_failures_write_few_lines(
    settings: Settings, space: Space, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    add_texts(connection, [" " for _ in range(300)])
    with caplog.at_level(logging.INFO):
        report = work(settings, space)
    assert report.failed == 300
    assert len(caplog.records) <= 25
    assert any("pipeline failures" in record.getMessage() for record in caplog.records)
    first = next(r for r in caplog.records if "failed" in r.getMessage()).getMessage()
    row = connection.execute("SELECT id, source_key FROM source_items ORDER BY id").fetchone()
    assert row is not None
    assert first.startswith(f"source item {row[0]} (test, {row[1]}) failed: empty_text: ")


def test_failures_are_grouped_by_code_and_come_back_by_code_or_by_row(
    connection: Connection, space: Space
) -> None:
    add_texts(connection, [f"text {n}" for n in range(6)])
    jobs = claims.claim(connection, space.id, "w", 6, 60)
    errors = [PermanentRowError("not_found", "there is no file")] * 4
    errors += [PermanentRowError("truncated", "the file ends early")] * 2
    failed = list(zip(jobs, errors, strict=True))
    claims.fail(connection, space.id, "w", failed, max_attempts=5, backoff=Backoff(1, 2))
    groups = failures.grouped(connection, space.id)
    assert [(g.code, g.count, g.source_id) for g in groups] == [
        ("not_found", 4, jobs[0].source_id),
        ("truncated", 2, jobs[4].source_id),
    ]
    assert failures.retry(connection, code="truncated") == 2
    assert failures.retry(connection, source_ids=[jobs[0].source_id]) == 1
    assert failures.retry(connection, code="not_found", source_ids=[jobs[5].source_id]) == 0
    assert status.counts(connection, space.id) == status.QueueCounts(3, 3, 0, 3)
    assert {job.attempts for job in claims.claim(connection, space.id, "w", 9, 60)} == {1}


# the model


def test_out_of_memory_halves_the_batch_down_to_one_and_goes_on(
    settings: Settings, space: Space, connection: Connection
) -> None:
    sizes: list[int] = []

    def small_device(contents: Sequence[bytes]) -> None:
        sizes.append(len(contents))
        if len(contents) > 1:
            raise OutOfMemory(f"{len(contents)} inputs do not fit")

    texts = [f"text {n}" for n in range(16)]
    add_texts(connection, texts)
    report = work(settings, space, FakeEmbedder(before=small_device))
    assert (report.done, report.failed, report.retrying) == (16, 0, 0)
    assert (sizes[0], sizes.count(1)) == (16, 16)
    assert_embedded_once(connection, texts)


def test_one_input_too_large_for_the_device_is_tried_again() -> None:
    def none_fits(_: Sequence[Any]) -> Any:
        raise OutOfMemory("1 input does not fit")

    (error,) = embed_isolating(none_fits, ["x"])
    assert isinstance(error, TransientRowError)
    assert error.code == "out_of_memory"


def test_a_device_side_assert_ends_the_process_and_the_leases_return_the_rows(
    url: str, connection: Connection, space: Space, pipeline: Callable[..., Pipeline]
) -> None:
    add_texts(connection, ["one", "broken", "two"])
    run = pipeline(url, "ingest", "--watch", faults={"break_on": "broken"}, lease_seconds=60)
    assert run.wait() == 1
    assert any("device-side assert" in line for line in run.lines())
    rows = connection.execute("SELECT DISTINCT state, attempts FROM ingest_jobs").fetchall()
    assert rows == [("running", 1)]  # the attempt counts: else such a row would go on for ever
    connection.execute("UPDATE ingest_jobs SET leased_until = now() - interval '1 s'")
    sweep(connection, 5)
    assert status.counts(connection, space.id).due == 3


@pytest.mark.parametrize("output", [np.nan, 0.0, np.inf, 3.0])
def test_a_vector_of_no_use_fails_its_own_row_only(
    settings: Settings, space: Space, connection: Connection, output: float
) -> None:
    class Broken(FakeEmbedder):
        def embed(self, contents: list[bytes]) -> Any:
            rows = super().embed(contents)
            rows[[content == b"bad" for content in contents]] = output
            return rows

    add_texts(connection, ["one", "bad", "two"])
    report = work(settings, space, Broken())
    assert (report.done, report.failed) == (2, 1)
    (failure,) = failures.grouped(connection, space.id)
    assert failure.code == "bad_vector"


def test_a_model_that_loses_a_row_writes_nothing(
    settings: Settings, space: Space, connection: Connection
) -> None:
    class Short(FakeEmbedder):
        def embed(self, contents: list[bytes]) -> Any:
            return super().embed(contents)[:-1]

    add_texts(connection, ["one", "two", "three"])
    with pytest.raises(ModelError, match=re.escape("(2, 8) for 3 inputs")):
        work(settings, space, Short())
    assert connection.execute("SELECT * FROM multimodal_items").fetchall() == []


def test_a_row_that_the_database_refuses_fails_alone(
    settings: Settings, space: Space, connection: Connection
) -> None:
    """Such as a value of the metadata that jsonb has no form for."""

    class Odd(FakeEmbedder):
        def split(self, text: str) -> Any:
            windows = super().split(text)
            if text == "odd":
                return [type(windows[0])(text="a NUL \x00 here", start=0, end=3)]
            return windows

    texts = [f"text {n}" for n in range(20)]
    add_texts(connection, [*texts, "odd"])
    report = work(settings, space, Odd(), limit=21)
    assert (report.done, report.failed, report.retrying) == (20, 0, 1)
    row = connection.execute("SELECT error_code, error FROM ingest_jobs").fetchone()
    assert row is not None
    assert row[0] == "internal"
    assert "the database refuses this row" in row[1]
    connection.execute("DELETE FROM source_items WHERE content_ref = 'odd'")
    assert_embedded_once(connection, texts)


def test_a_long_text_of_which_one_part_fails_is_tried_again_as_a_whole(
    settings: Settings, space: Space, connection: Connection
) -> None:
    long = "".join(f"{n:04d}" for n in range(200))
    failed: list[bytes] = []

    def second_part_once(contents: Sequence[bytes]) -> None:
        if long[256:512].encode() in contents and len(failed) < 3:
            if len(contents) == 1:
                failed.append(contents[0])
            raise RuntimeError("not now")

    add_texts(connection, [long])
    settings = settings.model_copy(update={"backoff_seconds": 0.0, "max_attempts": 5})
    report = work(settings, space, FakeEmbedder(before=second_part_once))
    assert (report.done, report.items, report.retrying) == (1, 4, 0)
    assert len(failed) == 3
