"""A file that appears under its name when it is whole, and never in place of another."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import ConfigurationError


def refuse_existing(file: Path) -> None:
    """Raises:
    ConfigurationError: something is there by that name.
    """
    if os.path.lexists(file):
        raise ConfigurationError(f"{file} is there already and is not overwritten; name another")


@contextlib.contextmanager
def new_file(file: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """To write into: where, and a handle of it, which holds the lock. On the disk, and by its name,
    when the block has ended well.

    What was written until then lies beside it, hidden and for its owner alone, and is begun anew
    by the next who writes to the same name.

    Raises:
        ConfigurationError: something is there by that name, or somebody writes to it now.
        OSError: of the folder, or of the disk.
    """
    refuse_existing(file)
    partial = file.with_name(f".{file.name}.pipeline-partial")
    with _locked(partial) as handle:
        try:
            handle.truncate()
            yield partial, handle
            handle.flush()
            os.fsync(handle.fileno())
            _name(partial, file)
        finally:
            partial.unlink(missing_ok=True)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _locked(partial: Path) -> BinaryIO:
    while True:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = os.fdopen(os.open(partial, flags, 0o600), "wb")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it may have ended, and taken the name away, since we opened it.
            if partial.exists() and partial.stat().st_ino == os.fstat(handle.fileno()).st_ino:
                return handle
        except BlockingIOError as exc:
            handle.close()
            raise ConfigurationError(f"another dump is being written to {partial}") from exc
        except BaseException:
            handle.close()
            raise
        handle.close()


def _name(partial: Path, file: Path) -> None:
    """Unlike a rename, a link never replaces anything."""
    try:
        file.hardlink_to(partial)
    except FileExistsError:
        refuse_existing(file)
        raise
    except OSError:  # a file system without links, such as that of a memory stick
        refuse_existing(file)
        partial.rename(file)
