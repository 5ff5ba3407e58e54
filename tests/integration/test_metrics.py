"""Metrics of ``ingest`` and ``serve``: by a port while they run, by a file where they end."""

import logging
import signal
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import psycopg
import pytest

from pipeline.cli import main
from pipeline.metrics.database import OfDatabase
from pipeline.metrics.serve import ServeMetrics
from pipeline.metrics.textfile import write
from pipeline.postgres.connections import Connection
from pipeline.spaces import Space
from tests.helpers.fakes import FAKE_FAMILY, FakeEmbedder, add_texts
from tests.helpers.metrics import Series
from tests.integration.test_query_files import answered, ask
from tests.integration.test_serve import embedding, serving

AWAY = "postgresql://127.0.0.1:1/nobody"
Ingest = Callable[..., int]


@pytest.fixture
def ingest(monkeypatch: pytest.MonkeyPatch, url: str, tmp_path: Path) -> Iterator[Ingest]:
    """``pipeline ingest --once ...`` in this process; its exit code."""
    on_signal = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    loggers = [logging.getLogger(name) for name in (None, "pipeline", "pipeline.notes")]
    as_they_were = [(logger, logger.level, logger.handlers[:]) for logger in loggers]

    def run(*arguments: str, url: str = url) -> int:
        monkeypatch.setenv("DATABASE_URL", url)
        with pytest.raises(SystemExit) as ended:
            main(["ingest", "--quiet", *arguments])
        return int(ended.value.code or 0)

    monkeypatch.chdir(tmp_path)
    yield run
    for number, handler in on_signal.items():
        signal.signal(number, handler)
    for logger, level, handlers in as_they_were:
        logger.setLevel(level)
        logger.handlers[:] = handlers


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def test_a_run_shows_its_metrics_while_it_works(
    ingest: Ingest, connection: Connection, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_texts(connection, [f"text {n}" for n in range(5)])
    connection.execute(
        "UPDATE ingest_jobs SET state = 'running', worker = 'gone', attempts = 1, "
        "leased_until = now() - interval '1 min' WHERE source_id = 1"
    )
    address = f"http://127.0.0.1:{(port := free_port())}"
    looks: list[list[httpx.Response]] = []

    def look(_: object) -> None:
        evil = {"Host": "evil.example"}
        asked = (("healthz", {}), ("readyz", {}), ("metrics", {}), ("metrics", evil))
        looks.append([httpx.get(f"{address}/{path}", headers=sent) for path, sent in asked])

    monkeypatch.setattr(FAKE_FAMILY, "make", partial(FakeEmbedder, before=look))
    assert ingest("--metrics-port", str(port)) == 0
    codes = [[answer.status_code for answer in found] for found in looks]
    assert codes[0] == [200, 503, 200, 403]  # its probes are embedded before it works
    assert codes[-1] == [200, 200, 200, 403]
    said = Series(looks[-1][2].text)
    assert said("pipeline_ingest_rows_total", space="fake", outcome="done") == 0
    assert said("pipeline_jobs", state="running") == 5
    assert said("pipeline_ingest_leases_lapsed_total", space="fake") == 1
    assert said("pipeline_ingest_stage_busy_seconds_total", stage="claim")
    assert said("process_resident_memory_bytes")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/healthz")


def test_scheduled_runs_leave_a_file_whose_counters_go_on(
    ingest: Ingest, connection: Connection, space: Space, tmp_path: Path
) -> None:
    file = tmp_path / "crossmodal.prom"
    file.write_text("what is this\n")
    options = ("--once", "--metrics-file", file.name)
    add_texts(connection, ["one", "two", " "])
    assert ingest(*options) == 1
    said = Series(file.read_text())
    assert said("pipeline_ingest_rows_total", space="fake", outcome="done") == 2
    assert said("pipeline_ingest_rows_total", outcome="failed") == 1
    of_code = {"code": "empty_text", "outcome": "failed"}
    assert said("pipeline_ingest_failures_total", **of_code) == 1
    assert said("pipeline_ingest_last_run_exit_code", space="fake") == 1
    assert said("pipeline_ingest_last_success_timestamp_seconds") is None
    assert said("pipeline_jobs", space="fake", state="failed") == 1
    # What every file of this machine would say alike, or node_exporter of itself, is not in it.
    assert said("pipeline_database_up") is None
    assert not [s for s in said.samples if s.name.startswith("process_")]
    assert not [s for s in said.samples if s.name.endswith("_created")]

    add_texts(connection, ["three"], "later")
    assert ingest(*options) == 0
    second = Series(file.read_text())
    assert second("pipeline_ingest_rows_total", outcome="done") == 3
    assert second("pipeline_ingest_failures_total", **of_code) == 1
    batches = second("pipeline_ingest_batch_seconds_bucket", le="+Inf")
    assert batches == second("pipeline_ingest_batch_seconds_count") == 2
    assert second("pipeline_ingest_batch_inputs_sum", space="fake", modality="text") == 3
    succeeded = second("pipeline_ingest_last_success_timestamp_seconds", space="fake")
    assert succeeded

    assert ingest(*options, url=AWAY) == 75
    third = Series(file.read_text())
    assert third("pipeline_ingest_last_run_exit_code", space="fake") == 75
    assert third("pipeline_ingest_last_success_timestamp_seconds") == succeeded
    assert third("pipeline_ingest_rows_total", outcome="done") == 3
    assert third("pipeline_jobs") is None
    assert [path.name for path in tmp_path.glob("*crossmodal*")] == [file.name]
    assert file.stat().st_mode & 0o777 == 0o644


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "a folder"
    target.mkdir()
    with pytest.raises(OSError, match="folder"):
        write(ServeMetrics().registry, target)
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--watch", "--metrics-file", "x.prom"), 2, "--watch has --metrics-port"),
        (("--metrics-port", "0", "--metrics-file", "x.prom"), 2, "cannot be with --metrics-port"),
        (("--metrics-file", "no/such/x.prom"), 2, "there is no folder no/such"),
        (("--metrics-port", "0.0.0.0:0"), 1, "set PIPELINE_METRICS_TOKEN"),
        (("--metrics-port", "nine"), 1, "no address to listen at"),
    ],
)
def test_what_cannot_be_is_said(
    ingest: Ingest, space: Space, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...],
    code: int, says: str,
) -> None:  # fmt: skip
    assert ingest(*arguments) == code
    assert says in " ".join(capfd.readouterr().err.replace("│", " ").split())


@pytest.mark.usefixtures("dblink")
def test_a_server_counts_queries_by_kind_and_outcome(
    url: str, connection: Connection, space: Space
) -> None:
    metrics = ServeMetrics()
    with serving(url, told=metrics.on_answered):
        embedding(connection, "a text")
        with pytest.raises(psycopg.Error):
            embedding(connection, "\u200b")
        with pytest.raises(psycopg.Error):
            answered(connection, ask(connection, b"no image"))
    said = Series.of(metrics.registry)
    count = partial(said, "pipeline_serve_queries_total")
    assert count(kind="texts", outcome="answered") == 1
    assert count(kind="texts", outcome="refused") == 1
    assert (count(kind="files", outcome="answered"), count(kind="files", outcome="refused")) == (
        0,
        1,
    )
    assert said("pipeline_serve_query_seconds_count", kind="texts") == 2
    assert said("pipeline_serve_batch_queries_sum", kind="texts") == 2


def test_what_a_login_may_not_see_is_left_out(connection: Connection, space: Space) -> None:
    def read(work: Callable[[Connection], object]) -> object:
        with connection.transaction():
            connection.execute("SET LOCAL ROLE pg_monitor")
            return work(connection)

    def said() -> dict[str, float]:
        return {s.name: s.value for family in OfDatabase(read).collect() for s in family.samples}

    assert said() == {"pipeline_database_up": 1}
    connection.close()
    assert said() == {"pipeline_database_up": 0}
