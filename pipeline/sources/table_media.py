"""Content that a table holds itself, such as the images of a Hugging Face dataset.

There a value is ``{bytes, path}``, or plain bytes. The database keeps pointers, not content: a path
that leads somewhere is the reference, and bytes are written to a folder that somebody names.
"""

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import modalities
from pipeline.references import from_folder, is_elsewhere


def without_emptiness(value: Any) -> Any:
    """The value; None where there is nothing in it."""
    if is_file(value):
        return value if value.get("bytes") or value.get("path") else None
    return None if value in ("", b"") else value


def is_file(value: Any) -> bool:
    """Whether it is ``{bytes, path}``, or one of the two."""
    return isinstance(value, Mapping) and bool(value) and value.keys() <= {"bytes", "path"}


def holds_bytes(value: Any) -> bool:
    """Whether there are bytes anywhere in it."""
    within = [value]
    while within:  # no recursion: JSON may be as deep as it likes
        one = within.pop()
        if isinstance(one, bytes):
            return True
        if isinstance(one, Mapping):
            within += one.values()
        elif isinstance(one, list):
            within += one
    return False


class TableMedia:
    """The content of one table as references.

    Args:
        folder: where bytes are written to; None: nobody named one.

    Attributes:
        unplaced: records whose content could not be written for want of a folder.
    """

    def __init__(self, table: Path, folder: Path | None) -> None:
        self._table = table
        self._folder = folder
        self.unplaced = 0

    def reference(self, modality: str, value: bytes | Mapping[str, Any]) -> str | None:
        """Where the content is; None: nowhere yet, and there is no folder to write it to.

        Raises:
            ValueError: the path or the bytes are none.
            OSError: it cannot be written.
        """
        content, path = (value, None) if isinstance(value, bytes) else _of(value)
        if path is not None and self._leads_there(path, content):
            return from_folder(path, self._table.parent)
        assert content is not None
        if self._folder is None:
            self.unplaced += 1
            return None
        name = hashlib.sha256(content).hexdigest() + _suffix(modality, path, content)
        return str(_written(self._folder / name[:2] / name, content))

    def _leads_there(self, path: str, content: bytes | None) -> bool:
        if content is None or is_elsewhere(path):
            return True
        file = Path(from_folder(path, self._table.parent))
        try:
            return file.stat().st_size == len(content) and file.read_bytes() == content
        except (OSError, ValueError):  # none, or no name of a file
            return False


def _of(value: Mapping[str, Any]) -> tuple[bytes | None, str | None]:
    content, path = value.get("bytes") or None, value.get("path") or None
    if not isinstance(content, bytes | None) or not isinstance(path, str | None):
        raise ValueError("its bytes are no bytes, or its path is no text")
    return content, path


def _suffix(modality: str, path: str | None, content: bytes) -> str:
    """Of its path, if it is one of the modality; else by what images begin with."""
    suffixes = modalities.get(modality).suffixes
    given = Path(path or "").suffix.lower()
    if given in suffixes:
        return given
    known = {b"\xff\xd8": ".jpg", b"\x89PNG": ".png", b"GIF8": ".gif", b"RIFF": ".webp"}
    found = next((suffix for head, suffix in known.items() if content.startswith(head)), "")
    return found if found in suffixes else ""


def _written(file: Path, content: bytes) -> Path:
    """The file with that content, whole or not at all; one that is there stays."""
    if file.is_file() and file.stat().st_size == len(content):
        return file
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=".")
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
        Path(name).chmod(0o644)  # a worker may be another user
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return file
