"""For an application's own Alembic: what in the database is ours, so that it lets it alone.

    # env.py of the application
    from pipeline.integrations.alembic import include_object

    context.configure(..., include_object=include_object)

Then ``alembic revision --autogenerate`` and ``alembic check`` neither drop nor add anything of
ours, whether or not ``pipeline.models.Base.metadata`` stands among the ``target_metadata``.

``register_operations()``, there as well, lets its migrations attach tables: see
``alembic_operations``.
"""

import re
from collections.abc import Iterator, Sequence

from alembic import context
from alembic.runtime.migration import MigrationContext
from sqlalchemy import ForeignKeyConstraint, Table, inspect
from sqlalchemy.sql.schema import SchemaItem

from pipeline.integrations.alembic_entities import ComparedEntity, is_made_by_us
from pipeline.integrations.alembic_operations import AttachSourceOp as AttachSourceOp
from pipeline.integrations.alembic_operations import DetachSourceOp as DetachSourceOp
from pipeline.integrations.alembic_operations import register_operations as register_operations
from pipeline.models import Base
from pipeline.postgres.revisions import TABLE
from pipeline.settings import Settings

# Tables and indexes that belong to one space are made by pipeline/spaces, not by migrations.
OF_A_SPACE = re.compile(r"multimodal_items_([a-z][a-z0-9_]*_s\d+.*|embedding)")
_NAMES = {table.name for table in Base.metadata.tables.values()} | {TABLE}


def include_object(
    item: SchemaItem | ComparedEntity,
    name: str | None,
    kind: str,
    reflected: bool,
    compare_to: SchemaItem | None,
) -> bool:
    """Whether Alembic is to compare this: everything but what is ours.

    Ours are the tables in the schema of ``PIPELINE_SCHEMA``, those of every space included, and
    all that hangs on them. A foreign key of yours that leads to one of them is compared. With a
    function of your own: ``include_object(*args) and mine(*args)``. Views, functions and the like
    are asked about by a plug-in such as alembic_utils: those of ours, and of attached tables.
    """
    if not isinstance(item, SchemaItem):
        home = Settings.load().database_schema
        return not is_made_by_us(item, _running(), home, _is_name_of_ours)
    if isinstance(item, ForeignKeyConstraint) and not _is_ours(item.table):
        return not (_is_ours(item.elements[0].column.table) and _is_on_both_sides(item, reflected))
    table = item if isinstance(item, Table) else getattr(item, "table", None)
    return table is None or not _is_ours(table)


def _is_ours(table: Table) -> bool:
    if table.metadata is Base.metadata:
        return True
    if not _is_name_of_ours(table.name):
        return False
    here = table.schema or _default_schema()
    return here is None or here == Settings.load().database_schema


def _is_name_of_ours(name: str) -> bool:
    return name in _NAMES or OF_A_SPACE.fullmatch(name) is not None


def _is_on_both_sides(key: ForeignKeyConstraint, reflected: bool) -> bool:
    """Whether the database and the metadata both have this key to one of our tables.

    Alembic takes them for two: the models name the schema, what it has reflected does not where
    that is the default one.
    """
    running = _running()
    if running is None:
        return False
    others = _in_metadata(key, running) if reflected else _in_database(key, running)
    wanted = _signature(key)
    return any(wanted == other for other in others)


_Signature = tuple[tuple[str, ...], str, tuple[str, ...], str, str]


def _signature(key: ForeignKeyConstraint) -> _Signature:
    """Its columns, where they lead and what it does, without a schema."""
    return (
        tuple(key.column_keys),
        key.elements[0].column.table.name,
        tuple(element.column.name for element in key.elements),
        (key.ondelete or "").upper(),
        (key.onupdate or "").upper(),
    )


def _in_metadata(key: ForeignKeyConstraint, running: MigrationContext) -> Iterator[_Signature]:
    given = running.opts["target_metadata"]
    for metadata in given if isinstance(given, Sequence) else [given]:
        for table in metadata.tables.values():
            if table.name == key.table.name:
                yield from map(_signature, table.foreign_key_constraints)


def _in_database(key: ForeignKeyConstraint, running: MigrationContext) -> Iterator[_Signature]:
    for found in inspect(running.bind).get_foreign_keys(key.table.name, key.table.schema):
        options = found.get("options", {})
        yield (
            tuple(found["constrained_columns"]),
            found["referred_table"],
            tuple(found["referred_columns"]),
            (options.get("ondelete") or "").upper(),
            (options.get("onupdate") or "").upper(),
        )


def _default_schema() -> str | None:
    """Where a table is that Alembic names no schema of."""
    running = _running()
    return running.dialect.default_schema_name if running is not None else None


def _running() -> MigrationContext | None:
    try:
        return context.get_context()
    except NameError:  # compared by a program of its own, without an env.py
        return None
