"""``pipeline space reindex``: another graph beside the one that is searched, then in its place."""

import time
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.index_options import Kind, Memory, Parallel, index_kind
from pipeline.cli.index_shown import index_shown
from pipeline.cli.output import note, print_json, progress_bar, show_indexing
from pipeline.cli.signals import STOPPING, StopSignals

# What needs the database driver is imported by the command that uses it.
if TYPE_CHECKING:
    from pipeline.settings import Settings
    from pipeline.spaces import Space
    from pipeline.spaces.index.graph import Graph, IndexKind


def reindex(
    name: Annotated[
        str | None,
        typer.Argument(help="The space; the active one if left out.", show_default=False),
    ] = None,
    m: Annotated[
        int | None,
        typer.Option(min=2, max=100, help="Links of a vector; left out: as it is."),
    ] = None,
    ef_construction: Annotated[
        int | None,
        typer.Option(min=4, max=1000, help="Candidates for them; left out: as it is, or twice m."),
    ] = None,
    index: Kind = None,
    dimensions: Annotated[
        int | None,
        typer.Option(min=1, help="Of a compact index; left out: what a sample needs."),
    ] = None,
    memory: Memory = None,
    parallel: Parallel = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Rebuild a space's indexes beside the old ones, swap, and measure recall; nobody waits.

    Needs room for both on disk. Stopped, what is finished is kept, and the next run goes on.
    With --index what the indexes are over changes; a compact one serves the search functions alone.

    Example: pipeline space reindex --m 32 --ef-construction 200
    """
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import CHANGE
    from pipeline.settings import Settings
    from pipeline.spaces import find_space
    from pipeline.spaces.index.graph import Graph

    kind = index_kind(index, dimensions)
    settings = Settings.load()
    with Database.of(settings).open(needs=CHANGE) as connection:
        space = find_space(connection, name)
    links = m or space.hnsw_m
    graph = Graph(links, ef_construction or max(space.hnsw_ef_construction, 2 * links))
    seconds = _rebuild(settings, space, graph, kind, memory, parallel)
    with Database.of(settings).open() as connection:
        _tell(find_space(connection, space.name), graph, seconds, as_json=as_json)


def _tell(space: "Space", graph: "Graph", seconds: float | None, *, as_json: bool) -> None:
    """``seconds``: None: it was stopped."""
    if as_json:
        print_json(
            {
                "space": space.name,
                "m": graph.m,
                "ef_construction": graph.ef_construction,
                "index": index_shown(space),
                "seconds": None if seconds is None else round(seconds, 1),
                "stopped": seconds is None,
            }
        )
    elif seconds is not None:
        print(
            f"{space.name} has {index_shown(space)} indexes of m {graph.m}, ef_construction "
            f"{graph.ef_construction}, in {seconds:.1f} s"
        )
    if seconds is None:
        note("stopped: the old indexes serve; the same command goes on")


def _rebuild(
    settings: "Settings",
    space: "Space",
    graph: "Graph",
    kind: "IndexKind | None",
    memory: str | None,
    parallel: int | None,
) -> float | None:
    """The seconds of building, after which recall was measured; None: it was stopped."""
    from pipeline.postgres.database import Database
    from pipeline.quality.upkeep import RecallUpkeep, keep_up
    from pipeline.spaces.index.build import IndexBuild

    database = Database.of(settings)
    began = time.monotonic()
    with progress_bar() as bar:
        task = bar.add_task("indexing", total=None, rate="")
        build = IndexBuild(
            database,
            space,
            progress=partial(show_indexing, bar, task),
            maintenance_memory=memory,
            parallel_workers=parallel,
            rebuild=graph,
            kind=kind,
        )
        signals = StopSignals(build, saying=STOPPING)
        if not build.run():
            return None
        seconds = time.monotonic() - began

        def tell(what: str) -> None:
            bar.update(task, description=f"measuring recall: {what}", total=None)

        keep_up(RecallUpkeep(database, space, tell, settings.evaluation_days), signals.tell)
        return seconds
