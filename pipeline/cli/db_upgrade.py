"""``pipeline db upgrade``."""

import dataclasses
import logging
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from pipeline.cli.output import note, print_json, say, wrong
from pipeline.errors import DatabaseError
from pipeline.settings import Settings

logger = logging.getLogger(__name__)


def upgrade(
    programs: Annotated[
        Path | None,
        typer.Option(help="Folder with the programs of the PostgreSQL that wrote the data."),
    ] = None,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Remove the old data that an upgrade has kept.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Bring the embedded PostgreSQL's data to the installed version, and keep the old data.

    The server is stopped for it; --confirm, when all is well, removes the old data.

    Example: pipeline db upgrade --programs old
    """
    from pipeline.postgres.embedded import upgrade as upgrades

    settings = Settings.load()
    if confirm:
        if programs is not None:
            wrong("--programs", "it is for an upgrade, which --confirm is not")
        removed = [str(folder) for folder in upgrades.confirm(settings.home, note)]
        if as_json:
            nothing = dict.fromkeys(("before", "after", "counted", "kept"))
            print_json(nothing | {"removed": removed})
        for line in () if as_json else [f"removed {folder}" for folder in removed] or ["nothing"]:
            say(line)
        return
    done = upgrades.upgrade(
        settings.home, lambda old, new: _compare(settings, old, new), note, programs=programs
    )
    if as_json:
        print_json(dataclasses.asdict(done) | {"removed": []})
    elif done.counted is None:
        say(f"nothing to do: the data is of PostgreSQL {done.after}")
    else:
        counted = done.counted
        say(
            f"upgraded from PostgreSQL {done.before} to {done.after}: {counted.databases} "
            f"databases, {counted.tables} tables and {counted.rows:,} rows, each counted in both"
        )
        say(f"the old data is in {done.kept}; pipeline db upgrade --confirm removes it")


def _compare(settings: Settings, old: str, new: str) -> None:
    """What `pipeline doctor` says of both, where our tables are in the old one."""
    from pipeline.doctor.examination import examine
    from pipeline.postgres.connections import connect
    from pipeline.postgres.place import schemas_of_ours

    with connect(old, schema=None) as connection:
        schemas = schemas_of_ours(connection)
    if not schemas:
        return
    note("asking the doctor about both")
    found = []
    for url in (old, new):
        there: dict[str, Any] = {"database_url": SecretStr(url), "database_schema": schemas[0]}
        found.append([c for c in examine(settings.model_copy(update=there)) if not c.ok])
    before = {check.name for check in found[0]}
    if worse := [check for check in found[1] if check.name not in before]:
        raise DatabaseError(
            f"the copy is not what it was: {worse[0].name}: {worse[0].found}; the old data stays"
        )
