"""What the tests of spaces share: a second space, and filling one with an embedder of no model."""

import dataclasses
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline import spaces
from pipeline.ingest.report import IngestReport
from pipeline.postgres.connections import Connection
from pipeline.postgres.database import Database
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.fakes import FakeEmbedder
from tests.helpers.workers import load_file, make_worker, work


def fill(settings: Settings, space: Space, embedder: FakeEmbedder) -> IngestReport:
    """Work on the space's queue until nothing is due."""
    return work(settings, space, embedder, load=load_file)


def fake_ingest(embedder: FakeEmbedder) -> Any:
    """What ``pipeline.ingest.run.ingest`` does, with this embedder."""

    def run(settings: Settings, **options: Any) -> IngestReport:
        with Database.of(settings).open() as connection:
            space = spaces.get_space(connection, options["space_name"])
        listener = options["listener"]
        worker = make_worker(
            settings,
            space,
            embedder,
            load=load_file,
            once=options["once"],
            progress=listener.progress,
        )
        listener.starting(worker, 0)
        return worker.run()

    return run


def add_images(connection: Connection, folder: Path, count: int, source: str = "test") -> None:
    """Source rows of distinct small images."""
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
    return spaces.create(connection, name, FakeEmbedder(dimensions), **options)


def described(embedder: FakeEmbedder | None = None, **changes: Any) -> FakeEmbedder:
    """The embedder, or a fresh one, with some fields of its description changed."""
    embedder = embedder or FakeEmbedder()
    embedder.description = dataclasses.replace(embedder.description, **changes)
    return embedder
