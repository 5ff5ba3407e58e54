"""``pipeline eval recall``: what the indexes find, now and since they are measured."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.output import print_json, print_table, progress_bar
from pipeline.settings import Settings

# What needs the database driver is imported by the command that uses it, so that
# `pipeline --help` does not pay for it.
if TYPE_CHECKING:
    from pipeline.quality.comparison import Recall

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SpaceName = Annotated[
    str | None, typer.Option(help="The space; the active one if left out.", show_default=False)
]


def eval_recall(
    space: SpaceName = None,
    k: Annotated[int, typer.Option("-k", "--k", min=1, max=1000, help="Neighbours.")] = 10,
    sample: Annotated[int, typer.Option(min=1, help="Queries per query modality.")] = 100,
    ef_search: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help="Instead of the tuned value.", show_default=False),
    ] = None,
    filters: Annotated[
        bool, typer.Option("--filters/--no-filters", help="Also under filters of 10 % and 1 %.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Compare the index with exact search, per query and item modality; stored with its time.

    Example: pipeline eval recall -k 10 --sample 50
    """
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import MEASURE
    from pipeline.quality import recall
    from pipeline.quality.comparison import CONDITIONS
    from pipeline.spaces import find_space

    with Database.of(Settings.load()).open(needs=MEASURE) as connection, progress_bar() as bar:
        task = bar.add_task("exact search", total=None, rate="")
        results = recall.measure(
            connection,
            found := find_space(connection, space),
            k=k,
            sample=sample,
            ef_search=ef_search,
            conditions=tuple(CONDITIONS) if filters else ("none",),
            progress=lambda what: bar.update(task, description=what),
        )
        recall.record(connection, found, results)
    if as_json:
        print_json({"space": found.name, "results": [dataclasses.asdict(r) for r in results]})
        return
    _print_recall(f"recall@{k} of the space {found.name}", results)


def _print_recall(title: str, results: "Sequence[Recall]") -> None:
    print_table(
        title,
        ("query", "items", "filter", "ef_search", "queries", "recall", "short", "ms"),
        [
            (
                r.query_modality,
                r.item_modality,
                r.condition,
                r.ef_search,
                r.queries,
                f"{r.recall:.3f}",
                r.short,
                f"{r.milliseconds:.2f}",
            )
            for r in results
        ],
        right=("ef_search", "queries", "recall", "short", "ms"),
    )
