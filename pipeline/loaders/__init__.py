"""URI -> bytes, safely: files, ``data:``, http(s), S3, Google Cloud Storage and Azure.

A reference is whatever somebody wrote into a table. So files are read below the media roots
only, http goes to public addresses only, buckets are named in a setting, and everything has a
size limit and a deadline. See docs/security.md.
"""

import base64
import binascii
import hashlib
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from pipeline.errors import PermanentRowError, RowError, TransientRowError
from pipeline.loaders.content import Deadline, LoadedContent, too_large
from pipeline.loaders.files import FileLoader
from pipeline.loaders.http import HttpLoader
from pipeline.loaders.objects import ObjectLoader
from pipeline.settings import Settings

__all__ = ["LoadedContent", "Loader"]

logger = logging.getLogger(__name__)

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_STORES = {"s3", "gs", "az"}
_EXPECTED = "a path, file:, data:, http(s)://, s3://, gs:// or az://"


class Loader:
    """Loads references for many threads at once; keeps its connections until ``close()``."""

    def __init__(self, settings: Settings, media_roots: Sequence[Path] = ()) -> None:
        """``media_roots`` come on top of the setting: the database may register some."""
        self._timeout = settings.load_timeout_seconds
        self._max_bytes = settings.max_bytes
        self._files = FileLoader([*settings.media_roots, *media_roots], settings.max_bytes)
        self._http = HttpLoader(settings)
        self._objects = ObjectLoader(settings)

    def load(self, content_ref: str) -> LoadedContent:
        """The bytes behind ``content_ref``.

        Raises:
            RowError: with a code of the groups "the reference" in ``ROW_ERROR_CODES``, or
                ``empty_file`` or ``too_large``. Its message holds no secret of the reference.
        """
        with _row_errors_only():
            data, info = self._load(content_ref, Deadline(self._timeout))
        if not data:
            raise PermanentRowError("empty_file", "0 bytes; expected a picture")
        return LoadedContent(data, hashlib.sha256(data).digest(), info)

    def _load(self, ref: str, deadline: Deadline) -> tuple[bytes, dict[str, Any]]:
        scheme = scheme_of(ref)
        if scheme == "data":
            return _decode_data(ref, self._max_bytes)
        if scheme in {"http", "https"}:
            return self._http.load(ref, deadline)
        if scheme in _STORES:
            return self._objects.load(ref, deadline)
        return self._files.load(ref, deadline)

    def stat(self, content_ref: str) -> dict[str, Any]:
        """``etag``, ``size`` and ``mtime`` as far as they are known without the body.

        Equal answers mean an unchanged object; an empty one means that only loading can tell.
        """
        with _row_errors_only():
            return self._stat(content_ref, Deadline(self._timeout))

    def _stat(self, ref: str, deadline: Deadline) -> dict[str, Any]:
        scheme = scheme_of(ref)
        if scheme == "data":
            return {}  # the reference is the content
        if scheme in {"http", "https"}:
            return self._http.stat(ref, deadline)
        if scheme in _STORES:
            return self._objects.stat(ref, deadline)
        return self._files.stat(ref)

    def close(self) -> None:
        self._http.close()
        self._objects.close()

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def _row_errors_only() -> Iterator[None]:
    """A defect in a loader costs the row, not the batch."""
    try:
        yield
    except RowError:
        raise
    except Exception as exc:
        logger.exception("a loader failed in an unforeseen way")
        raise TransientRowError("internal", f"loading failed: {type(exc).__name__}") from exc


def scheme_of(ref: str) -> str:
    """The scheme in lower case; ``file`` for a plain path.

    Raises:
        PermanentRowError: ``bad_reference`` or ``unsupported_scheme``.
    """
    if not ref.strip():
        raise PermanentRowError("bad_reference", f"an empty reference; expected {_EXPECTED}")
    if "\0" in ref or not _is_encodable(ref):
        raise PermanentRowError("bad_reference", "a NUL or a lone surrogate in the reference")
    match = _SCHEME.match(ref)
    if match is None:
        return "file"
    scheme = match[1].lower()
    if scheme not in {"file", "data", "http", "https", *_STORES}:
        raise PermanentRowError(
            "unsupported_scheme", f"scheme {scheme[:20]!r}; expected {_EXPECTED}"
        )
    return scheme


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _decode_data(ref: str, limit: int) -> tuple[bytes, dict[str, Any]]:
    head, comma, payload = ref[5:].partition(",")
    if not comma:
        raise PermanentRowError("bad_reference", "a data: URI without a comma")
    if len(payload) > 3 * limit + 1024:  # every byte may be written %XX
        raise too_large(None, limit)
    kind, *parameters = (part.strip().lower() for part in head.split(";"))
    data = unquote_to_bytes(payload)
    if "base64" in parameters:
        try:
            compact = b"".join(data.split())
            data = base64.b64decode(compact + b"=" * (-len(compact) % 4), validate=True)
        except (binascii.Error, ValueError) as exc:
            raise PermanentRowError("bad_reference", "a data: URI that is not base64") from exc
    if len(data) > limit:
        raise too_large(len(data), limit)
    return data, {"size": len(data), "content_type": kind or "text/plain"}
