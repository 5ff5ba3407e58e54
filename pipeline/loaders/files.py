"""Files: only regular ones, only below the media roots.

The file that was opened is checked, not the name that was asked for: a symbolic link swapped in
between the check and the open gains nothing.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from pipeline.errors import PermanentRowError, RowError, TransientRowError
from pipeline.loaders.content import Deadline, iso, too_large
from pipeline.loaders.options import LoadOptions
from pipeline.references import scheme_of

_CHUNK = 2**20
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISSOCK, "a socket"),
)


class FileLoader:
    """Reads files below the media roots."""

    schemes: tuple[str, ...] = ("file",)

    def __init__(self, options: LoadOptions) -> None:
        roots = options.media_roots
        self._roots = tuple(dict.fromkeys(Path(os.path.realpath(root)) for root in roots))
        self._max_bytes = options.max_bytes

    def load(self, ref: str, deadline: Deadline) -> tuple[bytes, dict[str, Any]]:
        with self._open(ref) as (descriptor, status):
            if status.st_size > self._max_bytes:
                raise too_large(status.st_size, self._max_bytes)
            data = bytearray()
            while part := os.read(descriptor, _CHUNK):
                data += part
                if len(data) > self._max_bytes:  # grew, or has no size (/proc)
                    raise too_large(None, self._max_bytes)
                deadline.left()
        return bytes(data), _notes(status)

    def stat(self, ref: str, deadline: Deadline) -> dict[str, Any]:
        with self._open(ref) as (_, status):
            return _notes(status)

    def close(self) -> None:
        """Nothing is open."""

    @contextmanager
    def _open(self, ref: str) -> Iterator[tuple[int, os.stat_result]]:
        path = path_of(ref)
        try:
            real = self._find(path)
            _check_regular(real.stat())  # opening a device can already do something
            descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                status = os.fstat(descriptor)
                _check_regular(status)
                self._check_below_roots(_path_of_descriptor(descriptor, real))
                yield descriptor, status
            finally:
                os.close(descriptor)
        except RowError:
            raise
        except OSError as exc:
            raise _row_error(exc) from exc

    def _find(self, path: Path) -> Path:
        if not self._roots:
            raise PermanentRowError(
                "forbidden_path",
                "no folder is open to file references; set PIPELINE_MEDIA_ROOTS to their folder",
            )
        if path.is_absolute():
            real = Path(os.path.realpath(path))
            self._check_below_roots(real)
            return real
        reals = [Path(os.path.realpath(root / path)) for root in self._roots]
        real = next((real for real in reals if os.path.lexists(real)), reals[0])
        self._check_below_roots(real)
        return real

    def _check_below_roots(self, real: Path) -> None:
        if not any(real.is_relative_to(root) for root in self._roots):
            raise PermanentRowError(
                "forbidden_path",
                # Without their names: whoever sees what failed need not know this machine.
                "the file is outside the media roots (or a symbolic link leads out of them): "
                "those of PIPELINE_MEDIA_ROOTS and of the table media_roots",
            )


def path_of(ref: str) -> Path:
    """The path a plain path or a ``file:`` URI means.

    Raises:
        PermanentRowError: ``bad_reference``, or ``forbidden_path`` for a ``..``.
    """
    if scheme_of(ref) == "file":
        try:
            parts = urlsplit(ref)
        except ValueError as exc:
            raise PermanentRowError("bad_reference", f"not a file URI: {exc}") from exc
        if parts.netloc.lower() not in {"", "localhost"}:
            raise PermanentRowError(
                "bad_reference", "a file URI with a host; expected file:///path"
            )
        if parts.query or parts.fragment:
            raise PermanentRowError(
                "bad_reference", "a file URI with ? or #; expected them written %3F and %23"
            )
        if not parts.path.startswith("/"):
            raise PermanentRowError("bad_reference", "a relative file URI; expected file:///path")
        name = os.fsdecode(unquote_to_bytes(parts.path))
    else:
        name = ref
    if "\0" in name:
        raise PermanentRowError("bad_reference", "a NUL in the path")
    if ".." in name.split("/"):
        raise PermanentRowError("forbidden_path", "a '..' in the path; write the path without it")
    return Path(name)


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((name for test, name in _KINDS if test(status.st_mode)), "something else")
        raise PermanentRowError("not_a_file", f"this is {kind}; expected a regular file")


def _path_of_descriptor(descriptor: int, asked: Path) -> Path:
    link = Path(f"/proc/self/fd/{descriptor}")
    if not link.is_symlink():  # no /proc, or not Linux
        return Path(os.path.realpath(asked))
    return Path(str(link.readlink()).removesuffix(" (deleted)"))


def _notes(status: os.stat_result) -> dict[str, Any]:
    return {"size": status.st_size, "mtime": iso(status.st_mtime)}


_NOT_FOUND = {errno.ENOENT, errno.ENOTDIR}
_BAD_NAME = {errno.ENAMETOOLONG, errno.EINVAL}
_DENIED = {errno.EACCES, errno.EPERM}


def _row_error(exc: OSError) -> RowError:
    reason = exc.strerror or type(exc).__name__
    if exc.errno in _NOT_FOUND:
        return PermanentRowError("not_found", "no such file")
    if exc.errno in _DENIED:
        return PermanentRowError("permission_denied", "the file may not be read by this user")
    if exc.errno == errno.ELOOP:
        return PermanentRowError("forbidden_path", "symbolic links that lead in a circle")
    if exc.errno in _BAD_NAME:
        return PermanentRowError("bad_reference", f"not a usable path: {reason}")
    return TransientRowError("storage_error", f"reading the file failed: {reason}")
