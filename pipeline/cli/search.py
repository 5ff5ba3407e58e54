"""``pipeline search``: retrieval from the command line."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.output import note, print_json, print_table, say, shortened, wrong
from pipeline.cli.sheet import sheet_place, show_sheet
from pipeline.search.results import Ranking

if TYPE_CHECKING:
    from pipeline.search.results import Neighbour
    from pipeline.settings import Settings


_FileOption = Annotated[
    str | None,
    typer.Option(
        "--image", "--file", help="Look for what is like this file or URL, mostly an image."
    ),
]
_VideoOption = Annotated[
    str | None, typer.Option("--video", help="Look for what is like this film.")
]
_AudioOption = Annotated[
    str | None,
    typer.Option("--audio", help="Look for what is like this sound, or that of a film."),
]
_AsOption = Annotated[
    str | None,
    typer.Option(
        "--as",
        help="What the file is where its bytes do not tell, such as depth.",
        show_default=False,
    ),
]
_ItemOption = Annotated[
    int | None,
    typer.Option("--item", min=1, max=2**63 - 1, help="Look for what is like this stored item."),
]
_SheetOption = Annotated[
    Path | None,
    typer.Option(help="Write a page of the results too, images shown.", show_default=False),
]


def search(
    query: Annotated[str | None, typer.Argument(help="A text to look for.")] = None,
    file: _FileOption = None,
    video: _VideoOption = None,
    audio: _AudioOption = None,
    taken_as: _AsOption = None,
    item: _ItemOption = None,
    modality: Annotated[
        str | None, typer.Option("--modality", "-m", help="Only this one, such as image.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=10_000, help="How many.")] = 10,
    ranking: Annotated[
        Ranking, typer.Option(help="The order of results of several modalities.")
    ] = "calibrated",
    sheet: _SheetOption = None,
    opens: Annotated[bool, typer.Option("--open", help="Open that page in the browser.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """Find the items nearest to a text, a file such as an image, or a stored item.

    Of a film or a document the best moment or page is shown.

    Example: pipeline search "a red bicycle" --modality image -k 5
    """
    if sum(given is not None for given in (query, file, video, audio, item)) != 1:
        wrong("QUERY", "give a text, or --image FILE (--video, --audio), or --item ID")
    if query is not None and not query.strip():
        wrong("QUERY", "the text is empty")
    if taken_as is not None and file is None:
        wrong("--as", "it says what the file of --image (--file) is; give that, too")
    _check_modality("--modality", modality)
    _check_modality("--as", taken_as)
    from pipeline.modalities import AUDIO, VIDEO
    from pipeline.unified_index import UnifiedIndex

    place = sheet_place(sheet, opens=opens)
    # What a film's file is taken for is the caller's word: it may hold a sound as well.
    told = next((m.name for m, f in ((VIDEO, video), (AUDIO, audio)) if f is not None), taken_as)
    file = next((one for one in (file, video, audio) if one is not None), None)
    with UnifiedIndex(note=note) as index:
        chosen = _chosen(query, file, item, index.settings)
        found = index.retrieve_cross_modal(
            chosen, k, modality, ranking=ranking, query_modality=told
        )
    _print(found, as_json=as_json)
    if place is not None:
        asked = chosen if isinstance(chosen, Path) else None
        show_sheet(
            place, _title(query, file, item), found, index.settings, asked=asked, opens=opens
        )


def _check_modality(option: str, name: str | None) -> None:
    from pipeline import modalities

    if name is not None and name not in modalities.known_names():
        known = ", ".join(modalities.known_names())
        wrong(option, f"{name!r} is not one of {known}")


def _print(found: "list[Neighbour]", *, as_json: bool) -> None:
    if as_json:
        print_json([as_dict(neighbour) for neighbour in found])
    elif not found:
        note("nothing is stored yet that could be found; see `pipeline status`")
    else:
        print_neighbours(None, found)
        if folder := folder_of(found):
            say(f"files are below {folder}")


def _chosen(
    query: str | None, file: str | None, item: int | None, settings: "Settings"
) -> str | Path | bytes | int:
    given = _content(file, settings) if file is not None else query
    chosen = item if given is None else given
    assert chosen is not None  # one of the three was given
    return chosen


def _title(query: str | None, file: str | None, item: int | None) -> str:
    from pipeline.references import redact

    if query is not None:
        return query
    return f"like {redact(file).rpartition('/')[2]}" if file is not None else f"like item {item}"


def _content(reference: str, settings: "Settings") -> Path | bytes:
    """A file's path; what lies behind any other reference is loaded as a worker does it."""
    from pipeline.errors import ConfigurationError, RowError
    from pipeline.loaders import Loader, LoadOptions
    from pipeline.references import is_data, is_elsewhere, redact, redact_message

    if not (is_elsewhere(reference) or is_data(reference)):
        return Path(reference)
    try:
        with Loader(LoadOptions.of(settings)) as loader:
            return loader.load(reference).data
    except RowError as exc:
        raise ConfigurationError(f"{redact(reference)}: {redact_message(exc.message)}") from exc


def as_dict(neighbour: "Neighbour") -> dict[str, object]:
    """One result, flat."""
    return {
        "rank": neighbour.rank,
        "id": neighbour.document.id,
        "source_id": neighbour.source_id,
        "part": neighbour.part,
        "modality": str(neighbour.document.modality),
        "content_ref": neighbour.document.content_ref,
        "metadata": dict(neighbour.document.metadata),
        "similarity": neighbour.similarity,
        "score": neighbour.score,
    }


def print_neighbours(title: str | None, found: "list[Neighbour]") -> None:
    """The table of a search; with the score where that, not the similarity, is the order."""
    scored = any(n.score != n.similarity for n in found)
    folder = folder_of(found)
    print_table(
        title,
        ("rank", *["score"] * scored, "similarity", "id", "modality", "content"),
        [
            (
                n.rank,
                *[f"{n.score:.3f}"] * scored,
                f"{n.similarity:.3f}",
                n.document.id,
                n.document.modality,
                shown(n, folder),
            )
            for n in found
        ],
        right=("rank", "score", "similarity", "id"),
    )


def folder_of(found: "list[Neighbour]") -> str:
    """That of all files that were found, if they have one."""
    from pipeline.references import redact
    from pipeline.search.places import common_folder, is_inline

    return common_folder(
        [redact(n.document.content_ref) for n in found if not is_inline(n.document)]
    )


def shown(neighbour: "Neighbour", folder: str) -> str:
    """What is its own content by its beginning; a file by its path from the folder on, and where
    in it the best moment or page is."""
    from pipeline.references import redact
    from pipeline.search.moments import moment_of
    from pipeline.search.places import is_inline, place_in

    document = neighbour.document
    if is_inline(document):
        return shortened(" ".join(document.content_ref.split()))
    place, moment = place_in(folder, redact(document.content_ref)), moment_of(document)
    return place if moment is None else f"{place} ({moment})"
