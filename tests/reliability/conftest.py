"""One database per module, emptied before every test: a copy costs more than most tests here."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import spaces
from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.spaces import probes
from tests.helpers.databases import database_url
from tests.helpers.fakes import FakeEmbedder
from tests.helpers.processes import Pipeline


@pytest.fixture(scope="module")
def url(request: pytest.FixtureRequest, server: EmbeddedServer, template: str) -> Iterator[str]:
    """The module's database, with the fake embedder's space active."""
    name = f"reliability_{request.module.__name__.rpartition('.')[2]}"
    with connect(server.url()) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    url = database_url(server.url(), name)
    with connect(url) as connection:
        probes.store(connection, spaces.active_space(connection), FakeEmbedder())
    yield url
    with connect(server.url()) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> None:
    """Every test begins with no source item, no job, no item."""
    if "url" in request.fixturenames:
        with connect(request.getfixturevalue("url")) as connection:
            connection.execute("TRUNCATE source_items RESTART IDENTITY")


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Callable[..., Pipeline]]:
    """Starts ``pipeline`` commands; none of them outlives the test."""
    started: list[Pipeline] = []

    def start(url: str, *arguments: str, **options: Any) -> Pipeline:
        started.append(Pipeline(tmp_path, url, *arguments, **options))
        return started[-1]

    yield start
    for process in started:
        process.close()


@pytest.fixture
def open_jobs(connection: Connection) -> Callable[[], int]:
    """How many rows are pending or running."""

    def count() -> int:
        row = connection.execute(
            "SELECT count(*) FROM ingest_jobs WHERE state <> 'failed'"
        ).fetchone()
        assert row is not None
        return int(row[0])

    return count
