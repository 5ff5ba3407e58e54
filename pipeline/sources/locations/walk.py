"""The files below a folder, in the order in which stores list them: by path, byte by byte."""

import errno
import os
from collections.abc import Iterator

from pipeline.sources.locations.location import LocationReport


def files_below(base: str, after: str | None, report: LocationReport) -> Iterator[str]:
    """The paths of regular files from a folder; one folder at a time is in memory.

    Hidden folders are passed by and links to folders not followed, but noted. One that cannot be
    read is told, and the report not complete then.

    Args:
        base: the folder, with a slash at its end.
        after: go on behind this one.
    """
    links: list[str] = []
    behind = None if after is None else os.fsencode(after)
    to_do = [_entries(base, "", behind, links, report)]
    while to_do:
        try:
            key = next(to_do[-1])
        except StopIteration:
            to_do.pop()
            continue
        if key.endswith("/"):
            to_do.append(_entries(base, key, behind, links, report))
        else:
            yield key
    if links:
        report.notes.append(
            "links to folders are not followed, add those that you mean: " + ", ".join(links)
        )


def _entries(
    base: str, below: str, behind: bytes | None, links: list[str], report: LocationReport
) -> Iterator[str]:
    """What is in one folder: files, and folders with a slash at their end."""
    names: list[str] = []
    try:
        with os.scandir(base + below) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if not entry.name.startswith("."):
                        names.append(f"{below}{entry.name}/")
                elif _leads_to_itself(entry):
                    continue
                elif entry.is_dir():
                    links.append(base + below + entry.name)
                elif entry.is_file():
                    names.append(below + entry.name)
    except OSError as exc:
        report.fail(f"{base}{below}: {exc.strerror}")
        return
    for name in sorted(names, key=os.fsencode):
        raw = os.fsencode(name)
        # A folder of which a part is behind it is gone through.
        if behind is None or raw > behind or (raw.endswith(b"/") and behind.startswith(raw)):
            yield name


def _leads_to_itself(entry: os.DirEntry[str]) -> bool:
    try:
        entry.is_dir()
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            return True
        raise
    return False
