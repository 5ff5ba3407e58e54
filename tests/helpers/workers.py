"""The worker in this process, what it loads and decodes with, and what is in the database
afterwards."""

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import modalities
from pipeline.embedders import Embedder
from pipeline.embedders.derived import all_encoders
from pipeline.ingest.report import IngestReport
from pipeline.ingest.worker import Worker, WorkerOptions
from pipeline.loaders import LoadedContent
from pipeline.modalities import IMAGE, Decoded, Reader, ReadOptions
from pipeline.postgres.connections import Connection
from pipeline.postgres.database import Database
from pipeline.postgres.vector_arrays import unpack_vector
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.fakes import FakeEmbedder, vector_of


def no_loading(*_: Any) -> Any:
    raise AssertionError("nothing is to be loaded in this test")


def content(data: bytes) -> LoadedContent:
    """These bytes as a loader gives them."""
    return LoadedContent(data, hashlib.sha256(data).digest(), {})


def load_file(reference: str) -> LoadedContent:
    """The bytes of a file, with no rule about where it lies."""
    return content(Path(reference).read_bytes())


def readers_of(
    embedder: Embedder, decode_image: Callable[[bytes], Any] | None = None
) -> dict[str, Reader]:
    """Readers that decode in this process; ``decode_image`` gives ``Decoded``, or an RGB image."""
    readers = {
        name: Reader(modalities.get(name), encoder, ReadOptions())
        for name, encoder in all_encoders(embedder).items()
    }
    if decode_image is not None:
        of_images = readers[IMAGE.name]

        def decode(data: bytes) -> Decoded:
            decoded = decode_image(data)
            return decoded if isinstance(decoded, Decoded) else Decoded(decoded)

        of_images.decode = decode  # type: ignore[method-assign]
    return readers


def make_worker(
    settings: Settings,
    space: Space,
    embedder: FakeEmbedder | None = None,
    *,
    load: Callable[[str], Any] = no_loading,
    decode: Callable[[bytes], Any] | None = None,
    readers: Mapping[str, Reader] | None = None,
    once: bool = True,
    limit: int | None = None,
    progress: Callable[[IngestReport], None] | None = None,
) -> Worker:
    """A worker on the settings' database, by default with the fake."""
    embedder = embedder or FakeEmbedder()
    embedder.batch_size = settings.batch_size or embedder.batch_size
    return Worker(
        Database.of(settings),
        space,
        embedder,
        readers or readers_of(embedder, decode),
        load,
        WorkerOptions.of(settings, once=once, limit=limit),
        progress=progress,
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
