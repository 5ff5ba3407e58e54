"""``pipeline eval``, ``tune``, ``map`` and ``doctor``: what a space is worth, measured."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.colours import painted
from pipeline.cli.commands import CommandLine
from pipeline.cli.output import note, print_json, print_table, progress_bar, say, wrong
from pipeline.cli.printing import printable
from pipeline.settings import Settings

# What needs the database driver or matplotlib is imported by the command that uses it, so that
# `pipeline --help` does not pay for it.
if TYPE_CHECKING:
    from pipeline.quality.comparison import Recall
    from pipeline.quality.retrieval import RetrievalReport
    from pipeline.quality.tune import Tuning

eval_app = CommandLine(help="Measure recall of the index, and retrieval of the model.")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SpaceName = Annotated[
    str | None, typer.Option(help="The space; the active one if left out.", show_default=False)
]


@eval_app.command("recall")
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


@eval_app.command("retrieval")
def eval_retrieval(
    pairs: Annotated[
        str, typer.Option(help="Metadata key: equal value, belongs together.", show_default=False)
    ],
    space: Annotated[
        list[str] | None,
        typer.Option(help="The space; twice to compare two.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure whether texts and images that belong together find each other; stored with its time.

    Example: pipeline eval retrieval --pairs pair
    """
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import MEASURE
    from pipeline.quality import retrieval
    from pipeline.spaces import find_space

    names: Sequence[str | None] = space or [None]
    if len(set(names)) < len(names):
        wrong("--space", "name two different spaces to compare")
    with Database.of(Settings.load()).open(needs=MEASURE) as connection:
        reports = []
        for name in names:
            found = find_space(connection, name)
            reports.append(retrieval.retrieval(connection, found, pairs))
            retrieval.record(connection, found, reports[-1])
    if as_json:
        print_json([dataclasses.asdict(report) for report in reports])
        return
    _print_retrieval(reports)


def tune(
    target_recall: Annotated[float, typer.Option(min=0, max=1, help="Recall@k to reach.")] = 0.95,
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
    from pipeline.quality import tune as tuning
    from pipeline.spaces import find_space

    if plot is not None:
        from pipeline.quality import plots  # matplotlib takes a second to load, and may be missing

        plots.check_target(plot, plots.CURVE_SUFFIXES)
    with Database.of(Settings.load()).open(needs=MEASURE) as connection, progress_bar() as bar:
        task = bar.add_task("exact search", total=None, rate="")
        results = tuning.tune(
            connection,
            found := find_space(connection, space),
            target=target_recall,
            k=k,
            sample=sample,
            curve=plot is not None,
            progress=lambda what: bar.update(task, description=what),
        )
        tuning.store(connection, found, results)
    if plot is not None:
        plots.draw_tuning(results, plot)
        note(f"drew {plot}")
    if as_json:
        print_json({"space": found.name, "pairs": [dataclasses.asdict(r) for r in results]})
    else:
        _print_tuning(found.name, results)
    missed = [r for r in results if not r.reached]
    for r in missed:
        note(
            f"{r.query_modality} -> {r.item_modality} reaches {r.chosen.recall:.3f} at best; build "
            "the index with a larger m and ef_construction"
        )
    raise typer.Exit(1 if missed else 0)


def map_items(
    output: Annotated[
        Path, typer.Argument(help="The file to write: .png, .svg or .html.", show_default=False)
    ],
    space: SpaceName = None,
    sample: Annotated[int, typer.Option(min=3, help="Items per modality at most.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """Draw the items in two dimensions (PCA), by modality, before and after centring.

    Shows the modality gap: texts and images of CLIP models lie apart until each modality's mean
    is taken off. Example: pipeline map map.png
    """
    from pipeline.postgres.database import Database
    from pipeline.quality import plots  # matplotlib takes a second to load, and may be missing
    from pipeline.quality.projection import project
    from pipeline.spaces import find_space

    plots.check_target(output, plots.MAP_SUFFIXES)
    with Database.of(Settings.load()).open() as connection:
        projection = project(connection, find_space(connection, space), sample)
    plots.draw_map(projection, output)
    if as_json:
        print_json({"file": str(output)})
    else:
        print(output)


def doctor(
    model: Annotated[
        bool, typer.Option("--model", help="Also load the model and check what it computes here.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check the server, the schema, the active space and the queue: OK, or what to run about it.

    Exits 1 when something is wrong. Example: pipeline doctor --json
    """
    from pipeline.doctor.examination import examine

    results = examine(Settings.load(), model=model)
    wrong = [check for check in results if not check.ok]
    if as_json:
        print_json([dataclasses.asdict(check) for check in results])
    else:
        good, bad = painted("OK", "green"), painted("FAIL", "bold red")
        for check in results:
            said = printable(f"{check.name}: {check.found}")
            print(f"{f'{good}  ' if check.ok else bad}  {said}")
            if check.fix:
                say(f"      {check.fix}")
    raise typer.Exit(1 if wrong else 0)


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


def _print_retrieval(reports: "Sequence[RetrievalReport]") -> None:
    columns: dict[str, list[str]] = {}
    for report in reports:
        cells: dict[str, str] = {}
        for d in report.directions:
            way = f"{d.query_modality} -> {d.item_modality}"
            cells[f"{way} queries / items"] = f"{d.queries} / {d.items}"
            cells |= {f"{way} R@{k}": f"{value:.4f}" for k, value in d.recall.items()}
            cells[f"{way} median rank"] = f"{d.median_rank:g}"
        cells["mixed NDCG@10 calibrated"] = f"{report.ndcg_calibrated:.4f}"
        cells["mixed NDCG@10 raw"] = f"{report.ndcg_raw:.4f}"
        for name, cell in cells.items():
            columns.setdefault(name, []).append(cell)
    names = tuple(report.space for report in reports)
    print_table(
        f"pairs by {reports[0].pairs_by}",
        ("", *names),
        [(name, *cells) for name, cells in columns.items()],
        right=names,
    )
