"""``pipeline tune``: the recall that a space is to have, and the least ef_search that gives it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.output import note, print_json, print_table, progress_bar
from pipeline.settings import Settings

# What needs the database driver or matplotlib is imported by the command that uses it, so that
# `pipeline --help` does not pay for it.
if TYPE_CHECKING:
    from pipeline.quality.tunings import Tuning

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SpaceName = Annotated[
    str | None, typer.Option(help="The space; the active one if left out.", show_default=False)
]


def tune(
    target_recall: Annotated[
        float | None,
        typer.Option(min=0.01, max=1, help="From now on; left out: as it is.", show_default=False),
    ] = None,
    space: SpaceName = None,
    k: Annotated[int, typer.Option("-k", "--k", min=1, max=1000, help="Neighbours.")] = 10,
    sample: Annotated[int, typer.Option(min=1, help="Queries per query modality.")] = 100,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw recall against latency: .png or .svg.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the least ef_search per modality pair that reaches a recall, and store it.

    Exits 1 when a pair does not reach it; its best value is stored all the same.

    Example: pipeline tune --target-recall 0.95
    """
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import MEASURE
    from pipeline.quality import plain_sql
    from pipeline.quality.tune import Trial
    from pipeline.quality.tune import tune as run_tune
    from pipeline.quality.tunings import set_target, store
    from pipeline.spaces import find_space

    if plot is not None:
        from pipeline.quality import plots  # matplotlib takes a second to load, and may be missing

        plots.check_target(plot, plots.CURVE_SUFFIXES)
    with Database.of(Settings.load()).open(needs=MEASURE) as connection, progress_bar() as bar:
        task = bar.add_task("exact search", total=None, rate="")
        found = find_space(connection, space)
        if target_recall is not None:
            found = set_target(connection, found, target_recall)
        trial = Trial(
            target=found.target_recall,
            k=k,
            sample=sample,
            curve=plot is not None,
            progress=lambda what: bar.update(task, description=what),
        )
        results = run_tune(connection, found, trial)
        store(connection, found, results)
        plain_sql.follow(connection)
    if plot is not None:
        plots.draw_tuning(results, plot)
        note(f"drew {plot}")
    if as_json:
        print_json({"space": found.name, "pairs": [dataclasses.asdict(r) for r in results]})
    else:
        _print_tuning(found.name, results)
    raise typer.Exit(1 if _tell_missed(results) else 0)


def _tell_missed(results: "Sequence[Tuning]") -> bool:
    """Name the pairs that do not reach their target; whether there are any."""
    missed = [r for r in results if not r.reached]
    for r in missed:
        note(
            f"{r.query_modality} -> {r.item_modality} reaches {r.chosen.recall:.3f} at best; build "
            "the index with a larger m and ef_construction: see `pipeline doctor`"
        )
    return bool(missed)


def _print_tuning(space: str, results: "Sequence[Tuning]") -> None:
    rows: list[tuple[Any, ...]] = []
    for tuning in results:
        rows += [
            (
                r.query_modality,
                r.item_modality,
                r.ef_search,
                f"{r.recall:.3f}",
                f"{r.milliseconds:.2f}",
                "chosen" if r is tuning.chosen else "",
            )
            for r in tuning.tried
        ]
    columns = ("query", "items", "ef_search", "recall", "ms", "")
    print_table(f"ef_search of the space {space}", columns, rows, right=columns[2:5])
