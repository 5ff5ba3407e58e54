"""A claim is bounded by the bytes of what it fetches, and what is over its cap is not fetched."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.ingest import worker as worker_module
from pipeline.ingest.claim_size import BYTES_PER_CLAIM, CLAIMS_IN_FLIGHT
from pipeline.ingest.in_flight import InFlight
from pipeline.postgres.connections import Connection
from pipeline.queue import claims
from pipeline.queue.bounds import ClaimBounds
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.fakes import FakeEmbedder
from tests.helpers.workers import work

KILO = 1000


def add_long(connection: Connection, modality: str, begin: str, *sizes: int) -> None:
    """References of so many bytes each."""
    connection.execute(
        """
        INSERT INTO source_items (source, source_key, modality, content_ref)
        SELECT 'test', %s || n, %s, rpad(%s || n, size, ' more')
        FROM unnest(%s::integer[]) WITH ORDINALITY AS u (size, n)
        """,
        (modality, modality, begin, list(sizes)),
    )


def taken(connection: Connection, space: Space, **bounds: int) -> list[int]:
    """The bytes of what one claim takes."""
    jobs = claims.claim(connection, space.id, "w", 100, 60, bounds=ClaimBounds(**bounds))
    return [len(job.content_ref) for job in jobs]


def test_a_claim_takes_as_many_rows_as_fit_and_at_least_one(
    space: Space, connection: Connection
) -> None:
    add_long(connection, "text", "a text", *[100 * KILO] * 5, 900 * KILO, 100)
    assert taken(connection, space, bytes=250 * KILO) == [100 * KILO] * 2
    assert taken(connection, space, bytes=250 * KILO) == [100 * KILO] * 2
    assert taken(connection, space, bytes=1) == [100 * KILO]
    assert taken(connection, space, bytes=250 * KILO) == [900 * KILO]
    waiting = "SELECT attempts, state, worker FROM ingest_jobs WHERE state = 'pending'"
    assert connection.execute(waiting).fetchall() == [(0, "pending", None)]
    assert taken(connection, space, bytes=250 * KILO) == [100]


def test_metadata_count_as_well(space: Space, connection: Connection) -> None:
    add_long(connection, "text", "a text", 10, 10, 10)
    connection.execute(
        "UPDATE source_items SET metadata = jsonb_build_object('a', repeat('x', 100000))"
    )
    assert taken(connection, space, bytes=250 * KILO) == [10, 10]


def test_what_is_too_long_is_not_fetched_and_takes_no_room(
    space: Space, connection: Connection
) -> None:
    add_long(connection, "text", "a text", 1001, 1000, 1001)
    add_long(connection, "image", "data:,", 2001, 2000)
    bounds = ClaimBounds(bytes=2500, text_bytes=1000, reference_bytes=2000)
    jobs = claims.claim(connection, space.id, "w", 100, 60, bounds=bounds)
    assert [(j.modality, j.size, j.most, len(j.content_ref)) for j in jobs] == [
        ("text", 1001, 1000, 0),
        ("text", 1000, 1000, 1000),
        ("text", 1001, 1000, 0),
        ("image", 2001, 2000, 0),
    ]
    assert [job.is_too_long for job in jobs] == [True, False, True, True]
    (job,) = claims.claim(connection, space.id, "w", 100, 60, bounds=bounds)
    assert (job.modality, len(job.content_ref), job.is_too_long) == ("image", 2000, False)


def test_measuring_a_text_reads_none_of_it(connection: Connection) -> None:
    """octet_length() of a text that PostgreSQL stores apart knows it from the pointer."""
    connection.execute("ALTER TABLE source_items ALTER content_ref SET STORAGE EXTERNAL")
    add_long(connection, "text", "a text", 10_000 * KILO)

    def pages(expression: str) -> Any:
        explain = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT json) SELECT "
        row = connection.execute(explain + expression + " FROM source_items").fetchone()  # type: ignore[call-overload]
        assert row is not None
        return row[0][0]["Plan"]["Shared Hit Blocks"] + row[0][0]["Plan"]["Shared Read Blocks"]

    assert pages("octet_length(content_ref)") < 10
    assert pages("md5(content_ref)") > 1000  # the measure measures


def test_a_text_over_the_cap_fails_with_its_code_and_says_what_to_do(
    url: str, settings_of: Callable[..., Settings], space: Space, connection: Connection
) -> None:
    settings = settings_of(url, max_text_bytes=10 * KILO, max_bytes=KILO)
    add_long(connection, "text", "a text", 10 * KILO + 1, 10 * KILO)
    add_long(connection, "image", "data:,", 100 * KILO)
    report = work(settings, space, FakeEmbedder())
    assert (report.done, report.failed, report.retrying) == (1, 2, 0)
    query = "SELECT state, attempts, error_code, error FROM ingest_jobs ORDER BY source_id"
    assert connection.execute(query).fetchall() == [
        (
            "failed", 1, "too_large",
            "a text of 10,001 bytes; expected at most 10,000 (PIPELINE_MAX_TEXT_BYTES)",
        ),
        (
            "failed", 1, "too_large",
            "a reference of 100,000 bytes; expected at most 4,024, "
            "which follows from PIPELINE_MAX_BYTES",
        ),
    ]  # fmt: skip


def test_a_worker_holds_no_more_bytes_than_its_claims_may(
    url: str, settings_of: Callable[..., Settings], space: Space, connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    held: list[int] = []
    full = threading.Event()  # the claiming stage has to wait

    class Watched(InFlight):
        def add(self, jobs: Any) -> None:
            super().add(jobs)
            held.append(self.bytes)

        def wait_below(self, *bounds: Any) -> bool:
            return super().wait_below(*bounds) or full.set() or False

        def wait_empty(self, seconds: float) -> bool:
            full.set()
            return super().wait_empty(seconds)

    monkeypatch.setattr(worker_module, "InFlight", Watched)
    size = BYTES_PER_CLAIM // 4
    add_long(connection, "text", "a text", *[size] * 40)

    class NoLongTexts(FakeEmbedder):
        def split(self, text: str) -> Any:
            return super().split(text[:100])

    settings = settings_of(url, max_text_bytes=size)
    report = work(settings, space, NoLongTexts(before=lambda _: full.wait(60)))
    assert report.done == 40
    assert BYTES_PER_CLAIM <= max(held) <= CLAIMS_IN_FLIGHT * BYTES_PER_CLAIM + size
