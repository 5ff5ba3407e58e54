"""Which files and objects of a location are meant: those of a known modality, by their ending."""

from pathlib import Path, PurePosixPath

from pipeline import modalities
from pipeline.sources.files import LINES, printable
from pipeline.sources.folder_files import IGNORE_FILE, own_patterns, patterns
from pipeline.sources.locations.location import Attached, LocationReport
from pipeline.sources.records import TABLE_SUFFIXES
from pipeline.sources.source_items import unusable

# People are shown some, and told that there are others.
SHOWN = 4


class Selection:
    """Says of keys whether they are meant; the report counts the others.

    Args:
        attached: whose patterns hold, and those of its folder's :data:`IGNORE_FILE`.
    """

    def __init__(self, attached: Attached, report: LocationReport) -> None:
        folder = attached.folder
        own = [] if folder is None else own_patterns(folder)
        self._left_out = patterns([*own, *attached.exclude])
        self._attached = attached
        self._report = report

    def modality_of(self, key: str) -> str | None:
        """The modality of what has this key; None: it is not meant."""
        name = PurePosixPath(key)
        if unusable(key):
            shown = printable(self._attached.base + key)
            self._report.problems.append(f"{shown}: the name is not UTF-8; rename it")
            return None
        if _is_hidden(name) or self._left_out.match_file(key):
            self._report.skipped += name.name != IGNORE_FILE
            return None
        modality = modalities.of_suffix(name.suffix.lower())
        if modality is not None:
            return modality.name
        self._report.skipped += 1
        is_table = name.suffix.lower() in {*TABLE_SUFFIXES, LINES}
        if is_table and self._attached.folder is not None and len(self._report.unread) < SHOWN:
            self._report.unread.append(Path(self._attached.base + key))
        return None


def _is_hidden(name: PurePosixPath) -> bool:
    return any(part.startswith(".") for part in name.parts)
