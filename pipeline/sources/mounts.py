"""Whether a file that is not there may be gone, or only its disk."""

from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import RowError
from pipeline.loaders.files import path_of
from pipeline.references import scheme_of


def is_out_of_reach(reference: str, roots: Iterable[Path]) -> bool:
    """Whether a folder that the reference's file would lie in is not there or empty, as the mount
    point of a disk that is not mounted is.

    Args:
        roots: the folders that file references may point into.
    """
    if scheme_of(reference) not in {None, "file"}:
        return False
    try:
        path = path_of(reference)
    except RowError:
        return True
    return any(
        is_empty(root) for root in roots if not path.is_absolute() or path.is_relative_to(root)
    )


def is_empty(folder: Path) -> bool:
    """Whether there is no such folder, or nothing in it but hidden files."""
    try:
        return all(entry.name.startswith(".") for entry in folder.iterdir())
    except OSError:
        return True
