"""Options of the commands that build indexes."""

from typing import Annotated

import typer

Memory = Annotated[
    str | None,
    typer.Option(
        help="maintenance_work_mem for the index; the graph should fit.", show_default=False
    ),
]
Parallel = Annotated[
    int | None, typer.Option(min=0, max=64, help="Parallel workers of PostgreSQL for the index.")
]
