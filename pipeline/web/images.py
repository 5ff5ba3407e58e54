"""Small images of items, kept on disk by the hash of their content."""

import contextlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pipeline.errors import RowError
from pipeline.search.item_image import ItemImage
from pipeline.search.thumbnails import Thumbnails
from pipeline.settings import Settings
from pipeline.web.faults import PageError

# Pixels of the longer side: on a card, twice its height, for screens with small ones; on a page.
SIDE, LARGE = 480, 1280
# How much may be written until the folder is looked at again.
_BETWEEN = 16 * 2**20


class Cache:
    """A folder of small files by name, the oldest of which go where there are too many bytes.

    For threads and processes: a file is whole or not there, and its name says what is in it.

    Args:
        folder: None: nothing is kept.
        most: bytes in it, about.
    """

    def __init__(self, folder: Path | None, most: int) -> None:
        self._folder = folder
        self._most = most
        self._lock = threading.Lock()
        self._written = _BETWEEN  # look at first
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def get(self, name: str) -> bytes | None:
        """What is kept by that name."""
        if self._folder is None:
            return None
        try:
            return (self._folder / name).read_bytes()
        except OSError:
            return None

    def put(self, name: str, data: bytes) -> None:
        """Keep it; where that cannot be, it is made again the next time."""
        if self._folder is None:
            return
        with contextlib.suppress(OSError):
            descriptor, partial = tempfile.mkstemp(dir=self._folder, prefix=".")
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            Path(partial).replace(self._folder / name)
        with self._lock:
            self._written += len(data)
            if self._written < _BETWEEN:
                return
            self._written = 0
        self._remove(self._too_many())

    def _too_many(self) -> Iterable[Path]:
        assert self._folder is not None
        files = []
        with contextlib.suppress(OSError), os.scandir(self._folder) as found:
            for entry in found:
                with contextlib.suppress(OSError):
                    stat = entry.stat(follow_symlinks=False)
                    files.append((stat.st_mtime, stat.st_size, Path(entry.path)))
        left = self._most
        for _, size, path in sorted(files, reverse=True):
            left -= size
            if left < 0:
                yield path

    def _remove(self, files: Iterable[Path]) -> None:
        for path in list(files):
            with contextlib.suppress(OSError):
                path.unlink()


class Images:
    """Small images of the items that a connection sees.

    Args:
        settings: how content is loaded and decoded.
        find_roots: as of :class:`Thumbnails`.
    """

    def __init__(
        self, settings: Settings, find_roots: Callable[[], Sequence[Path]], cache: Cache
    ) -> None:
        self._thumbnails = {side: Thumbnails(settings, find_roots, side) for side in (SIDE, LARGE)}
        self._cache = cache

    def of_item(self, found: ItemImage, side: int = SIDE) -> bytes:
        """A WebP.

        Raises:
            PageError: there is none, by the code of what failed.
        """
        # The hash of a part is none of the file's, so that it is kept for this item alone.
        is_part = found.moment is not None
        name = f"{found.sha256}{f'-{found.version}' if is_part else ''}-{side}.webp"
        if (kept := self._cache.get(name)) is not None:
            return kept
        try:
            content = self._thumbnails[side].load(found.reference)
            small = self._thumbnails[side].of(found.modality, found.moment, content.data)
        except RowError as exc:
            raise PageError(404, f"There is no image of it: {exc.code}.") from exc
        if small is None:
            raise none_of_it()
        # What lies there now may be other content than the item's.
        if is_part or content.sha256.hex() == found.sha256:
            self._cache.put(name, small)
        return small

    def of_bytes(self, data: bytes) -> bytes | None:
        """A WebP of a file; None: there is none of it."""
        return self._thumbnails[SIDE].of_file(data)

    def close(self) -> None:
        """End what loads and decodes."""
        for thumbnails in self._thumbnails.values():
            thumbnails.close()


def none_of_it() -> PageError:
    """What is answered where an item has no image."""
    return PageError(404, "There is no image of it.")
