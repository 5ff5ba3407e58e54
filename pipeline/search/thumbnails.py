"""Small images of what items refer to, for pages: loaded and decoded as an ingestion would.

What an item refers to was written by whoever may write source items. So it is read below the media
roots, from public addresses and named buckets alone, and decoded in processes of its own.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from pipeline import modalities
from pipeline.errors import RowError
from pipeline.loaders import LoadedContent, Loader, LoadOptions
from pipeline.modalities import IMAGE, Modality
from pipeline.modalities.base import ReadOptions
from pipeline.modalities.decoding.pool import DecoderPool
from pipeline.modalities.image.thumbnail import Thumbnail, as_webp
from pipeline.modalities.moments import Moment
from pipeline.modalities.still import image_of
from pipeline.settings import Settings

# How often it is asked at most whether a folder has been added.
LOOK_SECONDS = 5.0


class Thumbnails:
    """Makes them, for many threads, until it is closed.

    Args:
        find_roots: gives the folders that file references may point into, beside those of the
            settings. It is asked again where a file lies in none, since folders are added.
        side: pixels of the longer side, at most.
    """

    def __init__(
        self, settings: Settings, find_roots: Callable[[], Sequence[Path]], side: int
    ) -> None:
        self._options = ReadOptions.of(settings)
        self._load_options = LoadOptions.of(settings)
        self._prepare = Thumbnail(side)
        self._open = ExitStack()
        self._lock = threading.Lock()
        self._pools: dict[str, DecoderPool] = {}
        self._find_roots = find_roots
        self._allow(find_roots())

    def load(self, reference: str) -> LoadedContent:
        """What it refers to. Raises RowError."""
        try:
            return self._loader.load(reference)
        except RowError as exc:
            if exc.code != "forbidden_path" or not self._has_new_roots():
                raise
        return self._loader.load(reference)

    def _allow(self, roots: Sequence[Path]) -> None:
        loader = Loader(self._load_options, roots)
        self._loader = self._open.enter_context(loader)  # others may load with the one before
        self._roots = set(roots)
        self._looked_at = time.monotonic()

    def _has_new_roots(self) -> bool:
        """Whether there are others than were known; asked seldom, whoever writes references."""
        with self._lock:
            if time.monotonic() - self._looked_at < LOOK_SECONDS:
                return False
            self._looked_at = time.monotonic()
            roots = self._find_roots()
            if set(roots) == self._roots:
                return False
            self._allow(roots)
            return True

    def of(self, modality: Modality, moment: Moment | None, data: bytes) -> bytes | None:
        """A small WebP of some content, or of a moment of it; None: there is none of that modality.

        Raises:
            RowError: it cannot be decoded.
        """
        if moment is not None:  # a task of its own, for once
            task = modality.preview(moment, self._options, self._prepare)
            if task is None:
                return None
            with DecoderPool(task, 1) as pool:
                return as_webp(image_of(pool.decode(data).arrays[-1]))
        with self._lock:
            pool_of = self._pools.get(modality.name)
            if pool_of is None:
                task = modality.preview(None, self._options, self._prepare)
                if task is None:
                    return None
                pool_of = DecoderPool(task, self._options.decode_processes)
                self._pools[modality.name] = self._open.enter_context(pool_of)
        return as_webp(image_of(pool_of.decode(data).arrays[-1]))

    def of_file(self, data: bytes) -> bytes | None:
        """A small WebP of a file, whatever it is; None: there is none."""
        modality = modalities.sniffed(data, modalities.known_names()) or IMAGE
        try:
            return self.of(modality, None, data)
        except RowError:
            return None  # a text, say

    def close(self) -> None:
        """End its connections and processes."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
