"""``data:`` references, which are the content."""

import base64
import binascii
from typing import Any
from urllib.parse import unquote_to_bytes

from pipeline.errors import PermanentRowError
from pipeline.loaders.content import Deadline, too_large
from pipeline.loaders.options import LoadOptions


def longest_reference(max_bytes: int) -> int:
    """Characters of a ``data:`` URI that may hold so many bytes, each of them written %XX."""
    return 3 * max_bytes + 1024


class DataLoader:
    """Decodes what the reference holds."""

    schemes: tuple[str, ...] = ("data",)

    def __init__(self, options: LoadOptions) -> None:
        self._max_bytes = options.max_bytes

    def load(self, reference: str, deadline: Deadline) -> tuple[bytes, dict[str, Any]]:
        head, comma, payload = reference[5:].partition(",")
        if not comma:
            raise PermanentRowError("bad_reference", "a data: URI without a comma")
        if len(payload) > longest_reference(self._max_bytes):
            raise too_large(None, self._max_bytes)
        kind, *parameters = (part.strip().lower() for part in head.split(";"))
        data = unquote_to_bytes(payload)
        if "base64" in parameters:
            try:
                compact = b"".join(data.split())
                data = base64.b64decode(compact + b"=" * (-len(compact) % 4), validate=True)
            except (binascii.Error, ValueError) as exc:
                raise PermanentRowError("bad_reference", "a data: URI that is not base64") from exc
        if len(data) > self._max_bytes:
            raise too_large(len(data), self._max_bytes)
        return data, {"size": len(data), "content_type": kind or "text/plain"}

    def stat(self, reference: str, deadline: Deadline) -> dict[str, Any]:
        return {}  # it cannot change behind the reference

    def close(self) -> None:
        """Nothing is open."""
