"""``pipeline search``: retrieval from the command line."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.output import note, print_json, print_table, shortened, wrong
from pipeline.search.results import Ranking

if TYPE_CHECKING:
    from pipeline.search.results import Neighbour


def search(
    query: Annotated[str | None, typer.Argument(help="A text to look for.")] = None,
    file: Annotated[
        Path | None,
        typer.Option("--image", "--file", help="Look for what is like this file, mostly an image."),
    ] = None,
    item: Annotated[
        int | None, typer.Option("--item", help="Look for what is like this stored item.")
    ] = None,
    modality: Annotated[
        str | None, typer.Option("--modality", "-m", help="Only this one, such as image.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=10_000, help="How many.")] = 10,
    ranking: Annotated[
        Ranking, typer.Option(help="The order of results of several modalities.")
    ] = "calibrated",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """Find the items nearest to a text, a file such as an image, or a stored item.

    Example: pipeline search "a red bicycle" --modality image -k 5
    """
    if sum(given is not None for given in (query, file, item)) != 1:
        wrong("QUERY", "give a text, or --image FILE, or --item ID")
    from pipeline import modalities
    from pipeline.unified_index import UnifiedIndex

    if modality is not None and modality not in modalities.known_names():
        known = ", ".join(modalities.known_names())
        wrong("--modality", f"{modality!r} is not one of {known}")

    chosen: str | Path | int | None = query if query is not None else file or item
    assert chosen is not None
    with UnifiedIndex() as index:
        found = index.retrieve_cross_modal(chosen, k, modality, ranking=ranking)
        if query is not None and index.takes_no_writes:
            note("the text was embedded here, since the database takes no writes; nothing is kept")
    if as_json:
        print_json([as_dict(neighbour) for neighbour in found])
    elif not found:
        note("nothing is stored yet that could be found; see `pipeline status`")
    else:
        print_neighbours(None, found)


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
                shown(n),
            )
            for n in found
        ],
        right=("rank", "score", "similarity", "id"),
    )


def shown(neighbour: "Neighbour") -> str:
    """What is its own content by its beginning; a file by its name."""
    from pipeline import modalities
    from pipeline.references import name_of, redact

    document = neighbour.document
    modality = modalities.find(str(document.modality))
    is_inline = modality is not None and modality.inline
    if is_inline:
        return shortened(" ".join(document.content_ref.split()))
    return shortened(redact(name_of(document.content_ref)))
