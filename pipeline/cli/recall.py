"""``pipeline eval recall``: what the indexes find, now and since they are measured."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.output import print_json, print_table, progress_bar
from pipeline.settings import Settings

# What needs the database driver is imported by the command that uses it, so that
# `pipeline --help` does not pay for it.
if TYPE_CHECKING:
    from pipeline.quality.comparison import Recall
    from pipeline.quality.history import Measurement

# From a recall of 0.8 to 1: below it is bad, however bad.
BARS, LEAST = "▁▂▃▄▅▆▇█", 0.8

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
    history: Annotated[
        bool, typer.Option("--history", help="Measure nothing, show how it went.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare the index with exact search, per query and item modality, and show how it went.

    Every measurement is kept with its time, those that were made by themselves as well.

    Example: pipeline eval recall -k 10 --sample 50
    """
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import MEASURE, READ
    from pipeline.quality import recall
    from pipeline.quality.comparison import CONDITIONS
    from pipeline.quality.history import history as history_of
    from pipeline.spaces import find_space

    settings = Settings.load()
    needs = READ if history else MEASURE
    with Database.of(settings).open(needs=needs) as connection, progress_bar() as bar:
        task = bar.add_task("exact search", total=None, rate="")
        found = find_space(connection, space)
        results = (
            []
            if history
            else recall.measure(
                connection,
                found,
                k=k,
                sample=sample,
                ef_search=ef_search,
                conditions=tuple(CONDITIONS) if filters else ("none",),
                progress=lambda what: bar.update(task, description=what),
            )
        )
        if results:
            recall.record(connection, found, results, retention_days=settings.evaluation_days)
        before = history_of(connection, found, k=k)
    if as_json:
        rows = {"results": [asdict(r) for r in results], "history": [asdict(m) for m in before]}
        print_json({"space": found.name, **rows})
        return
    if results:
        _print_recall(f"recall@{k} of the space {found.name}", results)
    _print_history(f"how recall@{k} of the space {found.name} went", before)


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


def _print_history(title: str, measurements: "Sequence[Measurement]") -> None:
    """A line a pair: its first and last measurement, and a bar for each."""
    pairs: dict[tuple[str, str], list[Measurement]] = {}
    for one in measurements:
        pairs.setdefault((one.query_modality, one.item_modality), []).append(one)
    print_table(
        title,
        ("query", "items", "since", "then", "now", "rows", "ef_search", "0.8 to 1"),
        [
            (
                *pair,
                f"{of[0].measured_at:%Y-%m-%d}",
                f"{of[0].recall:.3f}",
                f"{of[-1].recall:.3f}",
                "" if of[-1].items is None else f"{of[-1].items:,}",
                of[-1].ef_search,
                bars([one.recall for one in of], sys.stdout.encoding),
            )
            for pair, of in pairs.items()
        ],
        right=("then", "now", "rows", "ef_search"),
    )


def bars(recalls: "Sequence[float]", encoding: str | None) -> str:
    """One character a measurement: a bar, or a digit from 1 to 8 where there are no bars."""
    try:
        BARS.encode(encoding or "ascii")
        marks = BARS
    except UnicodeEncodeError:
        marks = "12345678"
    steps = [(recall - LEAST) / (1 - LEAST) * len(marks) for recall in recalls]
    return "".join(marks[min(len(marks) - 1, max(0, int(step)))] for step in steps)
