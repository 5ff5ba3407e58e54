"""``pipeline space reindex``: another graph beside the one that is searched, then in its place."""

from functools import partial
from typing import Annotated

import typer

from pipeline.cli.output import note, print_json, progress_bar, show_indexing
from pipeline.cli.signals import STOPPING, StopSignals


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
    memory: Annotated[
        str | None,
        typer.Option(
            help="maintenance_work_mem for the index; the graph should fit.", show_default=False
        ),
    ] = None,
    parallel: Annotated[
        int | None,
        typer.Option(min=0, max=64, help="Parallel workers of PostgreSQL for the index."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Rebuild a space's indexes beside the old ones, then swap; nobody waits, and recall is
    measured after.

    Needs room for both on disk. Stopped, what is finished is kept, and the next run goes on.

    Example: pipeline space reindex --m 32 --ef-construction 200
    """
    import time

    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import CHANGE
    from pipeline.quality.upkeep import RecallUpkeep, keep_up
    from pipeline.settings import Settings
    from pipeline.spaces import find_space, get_space
    from pipeline.spaces.index.build import IndexBuild
    from pipeline.spaces.index.graph import Graph

    settings = Settings.load()
    database = Database.of(settings)
    with database.open(needs=CHANGE) as connection:
        space = find_space(connection, name)
    links = m or space.hnsw_m
    graph = Graph(links, ef_construction or max(space.hnsw_ef_construction, 2 * links))
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
        )
        signals = StopSignals(build, saying=STOPPING)
        done = build.run()
        seconds = time.monotonic() - began
        if done:
            with database.open() as connection:
                space = get_space(connection, space.name)
            upkeep = RecallUpkeep(
                database, space, lambda what: bar.update(task, description=f"recall: {what}")
            )
            keep_up(upkeep, signals.tell)
    if as_json:
        print_json(
            {
                "space": space.name,
                "m": space.hnsw_m,
                "ef_construction": space.hnsw_ef_construction,
                "seconds": round(seconds, 1),
                "stopped": not done,
            }
        )
    elif done:
        print(
            f"{space.name} has indexes of m {graph.m}, ef_construction {graph.ef_construction}, "
            f"in {seconds:.1f} s"
        )
    if not done:
        note(f"stopped: the old indexes serve; `pipeline space reindex {space.name}` goes on")
