"""What other installed packages add: modalities and families of embedders, by entry point.

A package says what it brings in its own ``pyproject.toml``:

    [project.entry-points."pipeline.modalities"]
    digits = "my_package.digits:DIGITS"
    [project.entry-points."pipeline.embedders"]
    mine = "my_package.models:MY_FAMILY"

Each names one object, which is registered as ``register()`` of that room does it.
"""

import logging
import threading
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

logger = logging.getLogger(__name__)


class PlugIns:
    """The entry points of one group, registered at the first look.

    Args:
        group: such as ``pipeline.embedders``.
        register: what is called with each object.
    """

    def __init__(self, group: str, register: Callable[[Any], None]) -> None:
        self._group = group
        self._register = register
        # A plug-in may look at the room that it is being registered in.
        self._lock = threading.RLock()
        self._is_loaded = False

    def load(self) -> None:
        """Register them, once. One that fails is told of and left out: the others work."""
        if not self._is_loaded:
            with self._lock:
                self._load_once()

    def _load_once(self) -> None:
        if self._is_loaded:  # by another thread, or for whom we are being registered
            return
        self._is_loaded = True
        for point in sorted(entry_points(group=self._group), key=lambda point: point.name):
            try:
                self._register(point.load())
            except Exception as exc:  # whatever it is: it is another package's
                logger.warning(
                    "A plug-in cannot be used: %s, of %s: %s: %s",
                    point.value, _package(point), type(exc).__name__, exc,
                )  # fmt: skip


def _package(point: EntryPoint) -> str:
    return "an unknown package" if point.dist is None else f"{point.dist.name} {point.dist.version}"
