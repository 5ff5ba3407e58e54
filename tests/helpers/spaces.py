"""What the tests of spaces share: a second space, and filling one with an embedder of no model."""

import dataclasses
import hashlib
import io
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline import spaces
from pipeline.ingest.worker import IngestReport, Worker
from pipeline.postgres.connections import Connection, connect
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.fakes import FakeEmbedder


class LoadedFile:
    """Stands in for the loader: the bytes of a file, with no rule about where it lies."""

    def __init__(self, reference: str) -> None:
        self.data = Path(reference).read_bytes()
        self.sha256 = hashlib.sha256(self.data).digest()
        self.info: dict[str, Any] = {}


class Decoded:
    """Stands in for the decoder."""

    def __init__(self, data: bytes) -> None:
        self.image = Image.open(io.BytesIO(data)).convert("RGB")
        self.notes: dict[str, Any] = {}


def fill(settings: Settings, space: Space, embedder: FakeEmbedder) -> IngestReport:
    """Work on the space's queue until nothing is due."""
    assert settings.database_url is not None
    url = settings.database_url.get_secret_value()
    return Worker(url, space, embedder, LoadedFile, Decoded, settings).run()


def fake_ingest(embedder: FakeEmbedder) -> Any:
    """What ``pipeline.ingest.run.ingest`` does, with this embedder."""

    def run(settings: Settings, **options: Any) -> IngestReport:
        assert settings.database_url is not None
        with spaces_connection(settings) as connection:
            space = spaces.get_space(connection, options["space_name"])
        worker = Worker(
            settings.database_url.get_secret_value(),
            space,
            embedder,
            LoadedFile,
            Decoded,
            settings,
            once=options["once"],
            progress=options["listener"].progress,
        )
        options["listener"].starting(worker, 0)
        return worker.run()

    return run


def spaces_connection(settings: Settings) -> Connection:
    assert settings.database_url is not None
    return connect(settings.database_url.get_secret_value())


def add_pictures(connection: Connection, folder: Path, count: int, source: str = "test") -> None:
    """Source rows of distinct small pictures, each with ``metadata.pair`` of the text's number."""
    for number in range(1, count + 1):
        path = folder / f"{number}.png"
        colour = (number % 256, number * 7 % 256, number * 31 % 256)
        Image.new("RGB", (8, 8), colour).save(path)
        connection.execute(
            "INSERT INTO source_items (source, source_key, modality, content_ref) "
            "VALUES (%s, %s, 'image', %s)",
            (source, f"image {number}", str(path)),
        )


def second_space(
    connection: Connection, dimensions: int = 12, name: str = "second", **options: Any
) -> Space:
    return spaces.create(connection, name, FakeEmbedder(dimensions).description, **options)


def described(embedder: Any, **changes: Any) -> Any:
    """The embedder's description with some fields changed."""
    return dataclasses.replace(embedder.description, **changes)
