"""The worker in this process, and what is in the database afterwards."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from pipeline.ingest.worker import IngestReport, Worker
from pipeline.postgres.connections import Connection
from pipeline.settings import Settings
from pipeline.spaces import Space
from pipeline.spaces.items import unpack_vector
from tests.helpers.fakes import FakeEmbedder, vector_of


def no_loading(*_: Any) -> Any:
    raise AssertionError("no image in this test")


def make_worker(
    settings: Settings, space: Space, embedder: FakeEmbedder | None = None, **options: Any
) -> Worker:
    assert settings.database_url is not None
    return Worker(
        settings.database_url.get_secret_value(),
        space,
        embedder or FakeEmbedder(),
        options.pop("load", no_loading),
        options.pop("decode", no_loading),
        settings,
        **options,
    )


def work(
    settings: Settings, space: Space, embedder: FakeEmbedder | None = None, **options: Any
) -> IngestReport:
    return make_worker(settings, space, embedder, **options).run()


@contextlib.contextmanager
def running(worker: Worker) -> Iterator[Worker]:
    """The worker in a thread of this process; afterwards it has stopped without an error."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            worker.run()
        except BaseException as exc:
            errors.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(60)
    assert not thread.is_alive()
    assert errors == []


def assert_embedded_once(connection: Connection, texts: list[str]) -> None:
    """Exactly these texts, once each, with the vectors of a run without faults; no open job."""
    rows = connection.execute(
        "SELECT source_id, part, content_ref, embedding FROM multimodal_items ORDER BY source_id",
        binary=True,
    ).fetchall()
    assert [ref for _, _, ref, _ in rows] == texts
    assert len({(source, part) for source, part, _, _ in rows}) == len(texts)
    stored = np.stack([unpack_vector(bytes(data), "halfvec") for *_, data in rows])
    expected = np.stack([vector_of(text.encode()) for text in texts])
    np.testing.assert_allclose(stored, expected, atol=1e-3)
    assert connection.execute("SELECT * FROM ingest_jobs").fetchall() == []


def xmins(connection: Connection) -> list[Any]:
    """Changes whenever a row of the items is written, even with what it holds already."""
    return connection.execute(
        "SELECT id, xmin::text, ctid::text FROM multimodal_items ORDER BY id"
    ).fetchall()
