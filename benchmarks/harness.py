"""What the benchmarks share: a server of their own, a space, a free embedder, captions, a line."""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline import spaces
from pipeline.embedders import Description
from pipeline.ingest.report import IngestReport
from pipeline.ingest.worker import Worker, WorkerOptions
from pipeline.loaders import LoadedContent
from pipeline.modalities import IMAGE, TEXT, Decoded, Reader, ReadOptions, Role
from pipeline.modalities.image.fitting import Fit
from pipeline.modalities.text.windows import TextWindow
from pipeline.postgres import migrate
from pipeline.postgres.connections import connect
from pipeline.postgres.database import Database
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.settings import Settings
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


@dataclass(frozen=True, kw_only=True)
class FreeDescription(Description):
    """Of a model that nobody loads."""

    kind = "free"

    logit_scale: float = 100.0


def make_space(url: str, name: str = "free", *, active: bool = True) -> Space:
    """A space of a free embedder. Building, it has no HNSW index yet; active, it has."""
    with connect(url) as connection:
        space = spaces.create(connection, name, FreeEmbedder(table=1, name=name))
        if active:
            spaces.activate(connection, space)
        return space


def no_loading(*_: Any) -> Any:
    """For a worker on texts alone."""
    raise AssertionError("there is no image in this benchmark")


class FreeEmbedder:
    """Costs nothing: rows of a table of random unit vectors, in turn."""

    def __init__(
        self, dimensions: int = DIMENSIONS, table: int = 65_536, name: str = "free"
    ) -> None:
        random = np.random.default_rng(0)
        self.vectors: Vectors = unit_rows(random.normal(size=(table, dimensions)))
        self.description = FreeDescription(
            model=name,
            dimensions=dimensions,
            precision="float32",
            weights_sha256=name,
            context_length=77,
        )
        self.encoders: dict[str, Any] = {"text": FreeTexts(self), "image": FreeImages(self)}
        self._next = 0

    def rows(self, count: int) -> Vectors:
        begin, self._next = self._next, self._next + count
        return self.vectors[np.arange(begin, begin + count) % len(self.vectors)]


class FreeTexts:
    batch_size = 32
    most_inputs = 8192

    def __init__(self, model: FreeEmbedder) -> None:
        self.model = model

    def split(self, text: str, overlap: int, max_windows: int) -> list[TextWindow]:
        return [TextWindow(text, 0, len(text))]

    def prepare(self, contents: Sequence[str]) -> npt.NDArray[np.int32]:
        return np.zeros((len(contents), 77), dtype=np.int32)

    def embed(self, inputs: Sequence[npt.NDArray[np.int32]], role: Role = "item") -> Vectors:
        return self.model.rows(len(inputs))


class FreeImages:
    """``seconds`` is how long it sleeps for a batch."""

    fit = Fit(8, 8, "squash")
    batch_size = 32
    most_inputs = 32

    def __init__(self, model: FreeEmbedder, seconds: float = 0.0, side: int = 8) -> None:
        self.model, self.seconds, self.side = model, seconds, side

    def prepare(self, contents: Sequence[Image.Image]) -> list[npt.NDArray[np.uint8]]:
        # Ones: zeros would not be in memory at all.
        return [np.ones((3, self.side, self.side), dtype=np.uint8) for _ in contents]

    def embed(self, inputs: Sequence[npt.NDArray[np.uint8]], role: Role = "item") -> Vectors:
        time.sleep(self.seconds)
        return self.model.rows(len(inputs))


class BlankReader(Reader):
    """Decodes nothing: every image is a small black one."""

    def decode(self, data: bytes) -> Decoded:
        return Decoded(Image.new("RGB", (8, 8)))


def work(
    url: str,
    space: Space,
    embedder: FreeEmbedder,
    load: Callable[[str], LoadedContent] = no_loading,
    **settings: Any,
) -> IngestReport:
    """One worker until nothing is due, with the settings as they are but for those given."""
    readers = {
        "text": Reader(TEXT, embedder.encoders["text"], ReadOptions()),
        "image": BlankReader(IMAGE, embedder.encoders["image"], ReadOptions()),
    }
    chosen = Settings.load(database_url=url, **settings)
    database = Database.of(chosen)
    return Worker(database, space, embedder, readers, load, WorkerOptions.of(chosen)).run()


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
