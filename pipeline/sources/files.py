"""What ``pipeline add`` takes: files, folders, lines, tables and references become rows."""

import glob
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import modalities
from pipeline.modalities import TEXT, Modality
from pipeline.references import REMOTE, expanded, local_path, redact, scheme_of, suffix_of
from pipeline.sources.folder_files import files_of
from pipeline.sources.records import MAX_BYTES, TABLE_SUFFIXES, Columns
from pipeline.sources.source_items import SOURCE, AddReport, NewSource, unusable
from pipeline.sources.table_rows import table_rows
from pipeline.sources.text_files import open_text

# A file of texts, one a line.
LINES = ".txt"


def reference_rows(
    references: Iterable[str],
    source: str,
    metadata: Mapping[str, Any],
    report: AddReport,
    told: Modality | None = None,
) -> Iterator[NewSource]:
    """Content elsewhere, each its own key; whether it may be loaded is decided when it is.

    Args:
        told: what it is; None: what its ending says.
    """
    for reference in references:
        if scheme_of(reference) not in REMOTE:
            report.errors.append(
                f"{redact(reference)}: content can be at {'://, '.join(REMOTE)}:// or in files"
            )
        elif "://" not in reference:
            scheme = scheme_of(reference)
            report.errors.append(f"{redact(reference)}: expected {scheme}://, with two slashes")
        elif _is_read_here(suffix_of(reference), told):
            report.errors.append(f"{redact(reference)}: download the file, then add it")
        else:
            modality = told or modalities.of_reference(reference)
            yield NewSource(source, reference, modality.name, reference, metadata)


def expand(
    arguments: Sequence[str],
    report: AddReport,
    exclude: Sequence[str] = (),
    among: Collection[Modality] | None = None,
) -> Iterator[Path]:
    """Files, from files, folders and globs; what is missing goes into the report.

    Args:
        exclude: patterns as in a ``.gitignore`` of each folder.
        among: whose files are taken out of folders; None: whatever an ending alone tells.
    """
    for argument in arguments:
        path = expanded(argument)
        if not argument:
            report.errors.append("an empty path names no file or folder")
        elif path.is_dir():
            report.roots.append(path)
            for file in files_of(path, exclude, report):
                suffix = file.suffix.lower()
                if _is_one_of(suffix, among) and file.is_file():
                    yield file
                elif file.is_file():
                    report.skipped += 1
                    if suffix in {*TABLE_SUFFIXES, LINES}:
                        report.unread.append(file)
        elif path.exists():
            yield path
        elif any(char in argument for char in "*?[") and (
            found := sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 (absolute globs)
        ):
            yield from (Path(name) for name in found if Path(name).is_file())
        else:
            report.errors.append(f"{redact(printable(argument))}: there is no such file or folder")


def rows_of(
    file: Path,
    source: str | None,
    columns: Columns,
    metadata: Mapping[str, Any],
    report: AddReport,
    *,
    max_bytes: int = MAX_BYTES,
    told: Modality | None = None,
) -> Iterator[NewSource]:
    """The rows that one file gives; a file that cannot be read goes into the report.

    Args:
        source: None: the default one, in which a table's own keys hold within the table only.
        max_bytes: that a field of a table may have.
        told: what the file is; None: what its ending says.
    """
    suffix = file.suffix.lower()
    path = local_path(file)
    if unusable(str(path)):
        report.errors.append(f"{printable(str(path))}: the name is not UTF-8; rename it")
        return
    try:
        modality = None if _is_read_here(suffix, told) else told or modalities.of_suffix(suffix)
        if modality is not None:
            report.roots.append(path.parent)
            yield NewSource(source or SOURCE, str(path), modality.name, str(path), metadata)
        elif told is not None:
            report.errors.append(f"{file}: no file of {told.name}; add it without --modality")
        elif suffix == LINES:
            yield from _lines(path, source or SOURCE, metadata, report)
        elif suffix in TABLE_SUFFIXES:
            yield from table_rows(path, source, columns, metadata, report, max_bytes)
        else:
            report.errors.append(
                f"{file}: no known kind of file; give images, .txt, .jsonl, .csv, .tsv or .parquet"
            )
    except (OSError, ValueError) as exc:  # pyarrow's own errors are ValueErrors
        reason = getattr(exc, "strerror", None) or str(exc).partition("\n")[0]
        report.errors.append(f"{file}: cannot be read as {suffix}: {reason}")


def _is_one_of(suffix: str, among: Collection[Modality] | None) -> bool:
    if among is None:
        return modalities.of_suffix(suffix) is not None
    return any(modality.may_end_in(suffix) for modality in among)


def _is_read_here(suffix: str, told: Modality | None) -> bool:
    """Whether a file gives rows of its own rather than being one's content."""
    return suffix in {*TABLE_SUFFIXES, LINES} and not (told and told.may_end_in(suffix))


def _lines(
    path: Path, source: str, metadata: Mapping[str, Any], report: AddReport
) -> Iterator[NewSource]:
    with open_text(path) as lines:
        for number, line in enumerate(lines, 1):
            text = line.strip()
            if not text:
                continue
            problem = unusable(text)
            if problem:
                report.errors.append(f"{path}:{number}: {problem}")
                continue
            yield NewSource(source, f"{path}:{number}", TEXT.name, text, metadata)


def printable(name: str) -> str:
    """A file's name for a message: bytes that are no UTF-8 as ``\\xff``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
