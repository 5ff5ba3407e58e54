"""References -> bytes, safely: files, ``data:``, http(s), S3, Google Cloud Storage and Azure.

A reference is whatever somebody wrote into a table. So files are read below the media roots
only, http goes to public addresses only, buckets are named in a setting, and everything has a
size limit and a deadline. See docs/security.md.

A new scheme is a module here with a class that meets ``options.SchemeLoader``, a word in
``pipeline.references`` and a line in :data:`_LOADERS`.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.errors import PermanentRowError, RowError, TransientRowError
from pipeline.loaders.content import Deadline, LoadedContent
from pipeline.loaders.data import DataLoader
from pipeline.loaders.files import FileLoader
from pipeline.loaders.http import HttpLoader
from pipeline.loaders.objects import ObjectLoader
from pipeline.loaders.options import LoadOptions, SchemeLoader
from pipeline.references import scheme_of

__all__ = ["LoadOptions", "LoadedContent", "Loader"]

logger = logging.getLogger(__name__)

_LOADERS = (FileLoader, DataLoader, HttpLoader, ObjectLoader)
_EXPECTED = "a path, file:, data:, http(s)://, s3://, gs:// or az://"


class Loader:
    """Loads references for many threads at once; keeps its connections until ``close()``.

    Args:
        media_roots: beside those of the options: the database may register some.
    """

    def __init__(self, options: LoadOptions, media_roots: Sequence[Path] = ()) -> None:
        options = replace(options, media_roots=(*options.media_roots, *media_roots))
        self._timeout = options.load_timeout_seconds
        self._loaders: list[SchemeLoader] = [loader(options) for loader in _LOADERS]
        self._by_scheme = {scheme: one for one in self._loaders for scheme in one.schemes}

    def load(self, content_ref: str) -> LoadedContent:
        """The bytes behind ``content_ref``.

        Raises:
            RowError: with a code of the groups "the reference" in ``ROW_ERROR_CODES``, or
                ``empty_file`` or ``too_large``. Its message holds no secret of the reference.
        """
        with _row_errors_only():
            data, notes = self._of(content_ref).load(content_ref, Deadline(self._timeout))
        if not data:
            error = PermanentRowError("empty_file", "0 bytes; expected some content")
            error.of_content = True
            raise error
        return LoadedContent(data, hashlib.sha256(data).digest(), notes)

    def stat(self, content_ref: str) -> Mapping[str, Any]:
        """``etag``, ``size`` and ``mtime`` as far as they are known without the body.

        Equal answers mean an unchanged object; an empty one means that only loading can tell.
        """
        with _row_errors_only():
            return self._of(content_ref).stat(content_ref, Deadline(self._timeout))

    def close(self) -> None:
        for loader in self._loaders:
            loader.close()

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _of(self, reference: str) -> SchemeLoader:
        """Whose scheme it has.

        Raises:
            PermanentRowError: ``bad_reference`` or ``unsupported_scheme``.
        """
        if not reference.strip():
            raise PermanentRowError("bad_reference", f"an empty reference; expected {_EXPECTED}")
        if "\0" in reference or not _is_encodable(reference):
            raise PermanentRowError("bad_reference", "a NUL or a lone surrogate in the reference")
        scheme = scheme_of(reference) or "file"
        if scheme not in self._by_scheme:
            raise PermanentRowError(
                "unsupported_scheme", f"scheme {scheme[:20]!r}; expected {_EXPECTED}"
            )
        return self._by_scheme[scheme]


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


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
