"""Films and documents in a space of the fake, which knows texts and images."""

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.ingest.reading import open_readers
from pipeline.ingest.report import IngestReport
from pipeline.postgres.connections import Connection
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.fakes import FakeEmbedder
from tests.helpers.media import film, scene
from tests.helpers.workers import load_file, work

ITEMS = "SELECT part, metadata -> '_pipeline' FROM multimodal_items WHERE source_id = %s ORDER BY 1"


@functools.cache
def two_shots(first: int = 1, second: int = 2) -> bytes:
    """Six seconds, ten frames each, with a cut at 3.0 s."""
    return film([scene(first)] * 30 + [scene(second)] * 30)


def pages_of(*numbers: int) -> bytes:
    """A PDF with a page of each scene."""
    images = [Image.fromarray(scene(n, (320, 240))) for n in numbers]
    file = io.BytesIO()
    images[0].save(file, "PDF", save_all=True, append_images=images[1:])
    return file.getvalue()


def add(connection: Connection, modality: str, path: Path, metadata: str = "{}") -> int:
    """A source item; its number."""
    row = connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref, metadata) "
        "VALUES ('test', %s, %s, %s, %s) RETURNING id",
        (path.name, modality, str(path), metadata),
    ).fetchone()
    assert row is not None
    return int(row[0])


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """Two films and a document of three pages."""
    (tmp_path / "shots.mp4").write_bytes(two_shots())
    (tmp_path / "other.mp4").write_bytes(two_shots(3, 1))
    (tmp_path / "pages.pdf").write_bytes(pages_of(1, 4, 5))
    return tmp_path


def embed(
    settings: Settings,
    space: Space,
    embedder: FakeEmbedder | None = None,
    load: Callable[[str], Any] = load_file,
) -> IngestReport:
    """One run of a worker, with what reads films and documents."""
    embedder = embedder or FakeEmbedder(space.dimensions)
    settings = settings.model_copy(update={"decode_processes": 1})
    with open_readers(space, embedder, settings) as readers:
        return work(settings, space, embedder, readers=readers, load=load)


def notes_of(connection: Connection, source_id: int) -> list[dict[str, Any]]:
    return [notes for _, notes in connection.execute(ITEMS, (source_id,)).fetchall()]
