"""``pipeline eval``, ``map`` and ``doctor``: what a space is worth, measured."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.colours import painted
from pipeline.cli.commands import CommandLine
from pipeline.cli.output import print_json, print_table, say, wrong
from pipeline.cli.printing import printable
from pipeline.cli.recall import eval_recall
from pipeline.settings import Settings

# What needs the database driver or matplotlib is imported by the command that uses it, so that
# `pipeline --help` does not pay for it.
if TYPE_CHECKING:
    from pipeline.quality.retrieval import RetrievalReport

eval_app = CommandLine(help="Measure recall of the index, and retrieval of the model.")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SpaceName = Annotated[
    str | None, typer.Option(help="The space; the active one if left out.", show_default=False)
]


eval_app.command("recall")(eval_recall)


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
