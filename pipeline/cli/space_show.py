"""``pipeline space list`` and ``show``: what spaces there are, and everything about one."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.index_shown import index_shown
from pipeline.cli.output import print_json, print_table
from pipeline.cli.space_pause import shown_pause, tell_pauses
from pipeline.settings import Settings

# What needs the database driver is imported by the command that uses it.
if TYPE_CHECKING:
    from pipeline.postgres.connections import Connection
    from pipeline.queue.pauses import Pause
    from pipeline.queue.status import IngestStatus
    from pipeline.spaces import Space

Name = Annotated[str, typer.Argument(help="The space.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def list_spaces(as_json: AsJson = False) -> None:
    """List the spaces with their states, oldest first. Example: pipeline space list --json"""
    from pipeline import spaces
    from pipeline.postgres.database import Database
    from pipeline.queue.pauses import pauses
    from pipeline.queue.status import ingest_status

    with Database.of(Settings.load()).open() as connection:
        status, paused = ingest_status(connection), pauses(connection)
        found = [_summary(space, status, paused) for space in spaces.list_spaces(connection)]
    if as_json:
        print_json(found)
        return
    columns = ("name", "state", "model", "dimensions", "precision", "items", "pending", "failed")
    print_table(
        None,
        columns,
        [[row[column] for column in columns] for row in found],
        right=("dimensions", "items", "pending", "failed"),
    )
    tell_pauses(paused.values())


def show_space(name: Name, as_json: AsJson = False) -> None:
    """Show everything about one space: its model, coverage, indexes, statistics and tuning.

    Example: pipeline space show demo
    """
    from pipeline import spaces
    from pipeline.postgres.database import Database
    from pipeline.queue.pauses import pauses
    from pipeline.queue.status import ingest_status

    with Database.of(Settings.load()).open() as connection:
        space = spaces.get_space(connection, name)
        found = _summary(space, ingest_status(connection), pauses(connection))
        found |= _details(connection, space)
    if as_json:
        print_json(found)
        return
    print_table(None, ("", "value"), [(key, _shown(value)) for key, value in _flat(found).items()])


def _summary(
    space: "Space", status: Sequence["IngestStatus"], paused: Mapping[str, "Pause"]
) -> dict[str, Any]:
    rows = [row for row in status if row.space == space.name]
    return {
        "name": space.name,
        "state": space.state,
        "paused": shown_pause(paused, space.name),
        "model": space.model,
        "dimensions": space.dimensions,
        "vector_type": space.vector_type,
        "precision": space.precision,
        "items": sum(row.items for row in rows),
        "pending": sum(row.pending + row.running for row in rows),
        "failed": sum(row.failed for row in rows),
        "created_at": space.created_at,
        "activated_at": space.activated_at,
    }


def _details(connection: "Connection", space: "Space") -> dict[str, Any]:
    from pipeline import spaces
    from pipeline.postgres.rights import may
    from pipeline.quality import recall
    from pipeline.spaces import probes
    from pipeline.spaces.status import space_status

    # Who may search need not be allowed to look at the queue.
    seen = spaces.coverage(connection, space) if may(connection, "ingest_jobs", "SELECT") else None
    status = space_status(connection, space.name)
    return {
        "fingerprint": space.fingerprint,
        "coverage": dataclasses.asdict(seen) | {"share": round(seen.share, 6)} if seen else None,
        "index_kind": index_shown(space),
        "hnsw": {"m": space.hnsw_m, "ef_construction": space.hnsw_ef_construction},
        "index": {row.modality: _index(row.index_is_valid) for row in status},
        "probes": probes.count(connection, space),
        "target_recall": space.target_recall,
        "ef_search": {
            "default": space.ef_search,
            **{
                f"{a} -> {b}": ef
                for (a, b), ef in recall.tuned_ef_search(connection, space).items()
            },
        },
        "statistics": {
            row.modality: {
                "items": row.items,
                "table_bytes": row.table_bytes,
                "index_bytes": row.index_bytes,
                "recall": row.recall,
                "ef_search": row.ef_search,
                "measured_at": row.measured_at,
            }
            for row in status
        },
        "description": space.description,
    }


def _index(valid: bool | None) -> str:
    return "missing" if valid is None else "valid" if valid else "broken"


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def _shown(value: Any) -> str:
    return "-" if value in (None, {}) else str(value)
