"""What the benchmarks share: a server of their own, a space, a free embedder, captions, a line."""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline import spaces
from pipeline.embedders.description import ModelDescription
from pipeline.modalities.text.windows import TextWindow
from pipeline.postgres import migrate
from pipeline.postgres.connections import connect
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.spaces import Space
from pipeline.vectors import Vectors, unit_rows

DIMENSIONS = 512
WORDS = (  # noqa: SIM905
    "a the of in on with near red blue green small large old young bright bicycle wall cat dog "
    "sofa harbour boat gull fog window street market child woman man running sitting holding "
    "photograph painting mountain river bridge train station umbrella rain snow morning"
).split()


def say(line: str) -> None:
    """Progress, on stderr: the figures alone are on stdout."""
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def database() -> Iterator[str]:
    """The URL of a migrated database on an embedded server of its own, as users have it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the server is stopped then, too
    folder = Path(tempfile.mkdtemp(prefix="pipeline-benchmark-"))
    folder.chmod(0o755)
    server = EmbeddedServer(folder / "home")
    try:
        url = server.start()
        migrate.upgrade(url)
        yield url
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def describe(name: str = "free", dimensions: int = DIMENSIONS) -> ModelDescription:
    return ModelDescription(
        model=name,
        architecture="none",
        architecture_config={},
        dimensions=dimensions,
        image_size=(8, 8),
        context_length=77,
        text_is_causal=True,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        interpolation="bicubic",
        resize_mode="shortest",
        fill_color=0,
        tokenizer={},
        precision="float32",
        weights_sha256=name,
        logit_scale=100.0,
        logit_bias=None,
    )


def make_space(url: str, name: str = "free", *, active: bool = True) -> Space:
    """A space of ``describe(name)``. Building, it has no HNSW index yet; active, it has."""
    with connect(url) as connection:
        space = spaces.create(connection, name, describe(name))
        if active:
            spaces.activate(connection, space)
        return space


class FreeEmbedder:
    """Costs nothing: rows of a table of random unit vectors, in turn."""

    def __init__(self, dimensions: int = DIMENSIONS, table: int = 65_536) -> None:
        random = np.random.default_rng(0)
        self.vectors: Vectors = unit_rows(random.normal(size=(table, dimensions)))
        self._next = 0

    def prepare_image(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        return np.zeros((3, 8, 8), dtype=np.uint8)

    def prepare_texts(self, texts: Sequence[str]) -> npt.NDArray[np.int32]:
        return np.zeros((len(texts), 77), dtype=np.int32)

    def split_text(self, text: str, overlap: int, max_windows: int) -> list[TextWindow]:
        return [TextWindow(text, 0, len(text))]

    def embed_prepared_images(self, batch: Sequence[npt.NDArray[np.uint8]]) -> Vectors:
        return self._rows(len(batch))

    def embed_prepared_texts(self, tokens: npt.NDArray[np.int32]) -> Vectors:
        return self._rows(len(tokens))

    def _rows(self, count: int) -> Vectors:
        begin, self._next = self._next, self._next + count
        return self.vectors[np.arange(begin, begin + count) % len(self.vectors)]


def captions(count: int, seed: int = 0) -> list[str]:
    """Captions of 5 to 20 words, no two alike."""
    random = np.random.default_rng(seed)
    lengths = random.integers(4, 20, count)
    return [
        " ".join([*random.choice(WORDS, size), str(number)]) for number, size in enumerate(lengths)
    ]


def prompts() -> list[str]:
    """232 prompts that begin alike: "a photo of a red cat"."""
    adjectives, nouns = WORDS[7:15], WORDS[15:45]
    return [f"a photo of a {adjective} {noun}" for adjective in adjectives for noun in nouns]


def add_items(url: str, modality: str, references: Sequence[str], source: str = "bench") -> None:
    """Source items in one statement, as an application would insert them; their jobs with them."""
    with connect(url) as connection:
        connection.execute(
            """
            INSERT INTO source_items (source, source_key, modality, content_ref)
            SELECT %s, n::text, %s, ref FROM unnest(%s::text[]) WITH ORDINALITY AS u (ref, n)
            """,
            (source, modality, list(references)),
        )
        connection.execute("VACUUM ANALYZE source_items, ingest_jobs")


def ingest_command(url: str, media_root: Path) -> tuple[list[str], dict[str, str]]:
    """`pipeline ingest` as users run it, and its environment, free of the caller's settings."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PIPELINE_")}
    environment |= {"DATABASE_URL": url, "PIPELINE_MEDIA_ROOTS": str(media_root)}
    return [sys.executable, "-m", "pipeline.cli", "ingest", "--once", "--json"], environment


def no_loading(*_: Any) -> Any:
    """For a worker on texts alone."""
    raise AssertionError("there is no picture in this benchmark")
