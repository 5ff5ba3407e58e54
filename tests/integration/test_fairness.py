"""A host or a bucket in trouble holds up its own rows, and nobody else's.

Nothing here is timed: what hangs goes on hanging until the test lets it go, and by then all else
has to be done.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from pipeline.loaders import Loader, LoadOptions
from pipeline.modalities import IMAGE, TEXT
from pipeline.postgres.connections import Connection
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.http_server import Request, Server, answer, at, drip, serving
from tests.helpers.processes import wait_until
from tests.helpers.workers import make_worker, running

HANGING = 300
OTHERS = 20
LEASE = 4.0


@at("/hanging/picture.png")
def _hanging_object(server: Server, request: Request, connection: object) -> bool:
    connection.sendall(  # type: ignore[attr-defined]
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n"
        b"Last-Modified: Tue, 14 Nov 2023 22:13:20 GMT\r\n\r\n"
    )
    return drip(server, connection)  # type: ignore[arg-type]


@at("/well/picture.png")
def _good_object(server: Server, request: Request, connection: object) -> bool:
    return answer(
        connection,  # type: ignore[arg-type]
        "200 OK",
        b"a picture",
        "Last-Modified: Tue, 14 Nov 2023 22:13:20 GMT",
    )


@pytest.fixture
def hanging() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def good() -> Iterator[Server]:
    with serving() as server:
        yield server


def add(connection: Connection, source: str, modality: str, references: list[str]) -> None:
    connection.execute(
        """
        INSERT INTO source_items (source, source_key, modality, content_ref)
        SELECT %s, n::text, %s, ref FROM unnest(%s::text[]) WITH ORDINALITY AS u (ref, n)
        """,
        (source, modality, references),
    )


def left(connection: Connection, *, of: str) -> list[tuple[str, int]]:
    """State and attempts of the jobs of a source that are not done."""
    return connection.execute(
        """
        SELECT j.state, j.attempts
        FROM ingest_jobs AS j JOIN source_items AS s ON s.id = j.source_id
        WHERE s.source = %s ORDER BY s.id
        """,
        (of,),
    ).fetchall()


def blank(data: bytes) -> Image.Image:
    return Image.new("RGB", (8, 8), (len(data) % 256, 0, 0))


def check_that_others_are_done_while_these_hang(
    settings: Settings, space: Space, connection: Connection, options: LoadOptions
) -> None:
    """Those of the source 'hanging' hang, those of 'other' are to be done."""
    with (
        Loader(options) as loader,
        running(make_worker(settings, space, load=loader.load, decode=blank, once=False)),
    ):
        wait_until(lambda: left(connection, of="other") == [], "all the others")
        # They are still this worker's after their first lease has run out: in hand, once claimed.
        # What has not been claimed was never in anybody's way.
        (moment,) = connection.execute("SELECT clock_timestamp()").fetchone() or (None,)
        passed = "SELECT clock_timestamp() > %s + 2 * make_interval(secs => %s)"
        wait_until(
            lambda: (connection.execute(passed, (moment, LEASE)).fetchone() or [0])[0],
            "the leases to run out, were they not prolonged",
        )
        assert left(connection, of="hanging") == [("running", 1)] * HANGING


@pytest.mark.parametrize("path", ["/drip", "/drip-headers", "/silent"])
def test_a_host_that_hangs_holds_up_its_own_rows_only(
    url: str, settings_of: Callable[..., Settings], space: Space, connection: Connection,
    hanging: Server, good: Server, tmp_path: Path, path: str,
) -> None:  # fmt: skip
    settings = settings_of(url, lease_seconds=LEASE, heartbeat_seconds=0.5, grace_seconds=0.5)
    files = [tmp_path / f"{number}.png" for number in range(OTHERS)]
    for file in files:
        file.write_bytes(f"the picture {file}".encode())
    add(connection, "hanging", IMAGE.name, [hanging.url(f"{path}?{n}") for n in range(HANGING)])
    add(connection, "other", TEXT.name, [f"text number {n}" for n in range(OTHERS)])
    add(connection, "other files", IMAGE.name, [str(file) for file in files])
    add(connection, "other URLs", IMAGE.name, [good.url(f"/good?{n}") for n in range(OTHERS)])
    add(connection, "other data", IMAGE.name, [f"data:,picture{n}" for n in range(OTHERS)])
    connection.execute("UPDATE source_items SET source = 'other', source_key = id "
                       "WHERE source LIKE 'other%'")  # fmt: skip
    options = LoadOptions(
        media_roots=(tmp_path,), http_allow_private=("127.0.0.0/8",), load_workers=4,
        load_timeout_seconds=600, http_per_host=3,
    )  # fmt: skip
    check_that_others_are_done_while_these_hang(settings, space, connection, options)
    assert good.paths() != []
    assert hanging.most_at_once == options.http_per_host


def test_a_bucket_that_hangs_holds_up_its_own_rows_only(
    url: str, settings_of: Callable[..., Settings], space: Space, connection: Connection,
    hanging: Server, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("AWS_ENDPOINT_URL", hanging.url(""))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.setenv(name, "any")
    settings = settings_of(url, lease_seconds=LEASE, heartbeat_seconds=0.5, grace_seconds=0.5)
    add(connection, "hanging", IMAGE.name, ["s3://hanging/picture.png"] * HANGING)
    add(connection, "other", IMAGE.name, ["s3://well/picture.png"] * OTHERS)
    options = LoadOptions(
        buckets=("s3://hanging", "s3://well"), load_workers=4, load_timeout_seconds=600
    )
    check_that_others_are_done_while_these_hang(settings, space, connection, options)


def test_a_host_that_wants_to_be_left_alone_is_and_the_others_go_on(
    url: str, settings_of: Callable[..., Settings], space: Space, connection: Connection,
    hanging: Server, good: Server,
) -> None:  # fmt: skip
    add(connection, "busy", IMAGE.name, [hanging.url("/status?429,3600")] * HANGING)
    add(connection, "other", IMAGE.name, [good.url(f"/good?{n}") for n in range(OTHERS)])
    options = LoadOptions(http_allow_private=("127.0.0.0/8",), load_workers=4)
    with Loader(options) as loader:
        report = make_worker(settings_of(url), space, load=loader.load, decode=blank).run()
    assert (report.done, report.failed, report.retrying) == (OTHERS, 0, HANGING)
    assert left(connection, of="busy") == [("pending", 1)] * HANGING
    assert len(hanging.requests) <= options.http_per_host  # those that were on their way
