"""The files of a folder that people mean when they name it."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pathspec import GitIgnoreSpec

from pipeline.errors import ConfigurationError
from pipeline.sources.source_items import AddReport
from pipeline.sources.text_files import open_text

# Patterns that always hold for a folder, if it has such a file.
IGNORE_FILE = ".pipelineignore"


def patterns(lines: Sequence[str]) -> GitIgnoreSpec:
    """Patterns as in a ``.gitignore``; raises ConfigurationError for one that is none."""
    try:
        return GitIgnoreSpec.from_lines(lines)
    except ValueError as exc:
        raise ConfigurationError(f"this is no pattern as in a .gitignore: {exc}") from exc


def files_of(folder: Path, exclude: Sequence[str], report: AddReport) -> Iterator[Path]:
    """Every file below a folder that is not left out, in order; the report counts the others.

    Left out are hidden files and folders (``._x.jpg`` is what macOS notes of ``x.jpg``) and what
    the patterns say. Links to folders are not followed, and those that cannot be read are named.

    Args:
        exclude: patterns as in a ``.gitignore`` of the folder; those of :data:`IGNORE_FILE` are
            added.
    """
    left_out = patterns([*own_patterns(folder), *exclude])
    links: list[Path] = []

    def tell(exc: OSError) -> None:
        report.errors.append(f"{exc.filename}: {exc.strerror}")

    for name, folders, files in os.walk(folder, onerror=tell):
        here = Path(name)
        below = here.relative_to(folder)
        # Walked into are those that stay; one of a pattern with an exception is looked through.
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        links += (here / one for one in folders if (here / one).is_symlink())
        for file in sorted(files):
            if file.startswith(".") or left_out.match_file(below / file):
                report.skipped += file != IGNORE_FILE
            else:
                yield here / file
    if links:
        report.notes.append(
            "links to folders are not followed, add those that you mean: "
            + ", ".join(map(str, links))
        )


def own_patterns(folder: Path) -> list[str]:
    file = folder / IGNORE_FILE
    if not file.is_file():
        return []
    with open_text(file) as lines:
        return lines.read().splitlines()
