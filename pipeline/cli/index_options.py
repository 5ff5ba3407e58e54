"""Options of the commands that build indexes."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.output import wrong

if TYPE_CHECKING:
    from pipeline.spaces.index.graph import IndexKind

Memory = Annotated[
    str | None,
    typer.Option(
        help="maintenance_work_mem for the index; the graph should fit.", show_default=False
    ),
]
Parallel = Annotated[
    int | None, typer.Option(min=0, max=64, help="Parallel workers of PostgreSQL for the index.")
]
Kind = Annotated[
    str | None,
    typer.Option(
        "--index",
        help="full, or compact: over leading coordinates, then by whole vectors.",
        show_default=False,
    ),
]


def index_kind(name: str | None, dimensions: int | None = None) -> "IndexKind | None":
    """What ``--index`` and ``--dimensions`` say; None: nothing. Any other is wrong usage."""
    # Late: it loads the database driver.
    from pipeline.spaces.index.graph import KINDS, IndexKind

    if name is not None and name not in KINDS:
        wrong("--index", f"{' or '.join(KINDS)} is expected, not {name!r}")
    if dimensions is not None and name != "compact":
        wrong("--dimensions", "only --index compact is over some of the dimensions")
    return None if name is None else IndexKind(name, dimensions)
