"""``op.attach_source()`` and ``op.detach_source()``: an application's migration attaches a table.

# env.py of the application
from pipeline.integrations.alembic import include_object, register_operations

register_operations()

# a revision
def upgrade():
    op.attach_source(
        "products", contents={"photo": {"modality": "image", "content": "photo_url"}}
    )

def downgrade():
    op.detach_source("products")
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, Operations
from psycopg import sql

from pipeline.settings import Settings

_IDENTIFIER = re.compile(r'"((?:[^"]|"")*)"|([^".]+)')
_place: dict[str, str | None] = {"schema": None}


def register_operations(schema: str | None = None) -> None:
    """Gives Alembic ``op.attach_source()`` and ``op.detach_source()``; called in ``env.py``.

    ``schema`` is where our functions are, that of ``PIPELINE_SCHEMA`` unless it is given; the
    search path of a migration need not hold it. Called again, it changes the schema alone.
    """
    _place["schema"] = schema
    if hasattr(Operations, "attach_source"):
        return
    for called, operation in {
        "attach_source": AttachSourceOp,
        "detach_source": DetachSourceOp,
    }.items():
        Operations.register_operation(called)(operation)
        Operations.implementation_for(operation)(_run)
        renderers.dispatch_for(operation)(_render)


@dataclass
class AttachSourceOp(MigrateOperation):
    """A table or view that source_items is to follow, as ``attach_source()`` in SQL makes it.

    Args:
        relation: the table or view as SQL names it: ``shop.products``, ``"Products"``.
        contents: what to embed of a row, by name:
            ``{"photo": {"modality": "image", "content": "photo_url"}}``.
        name: of the source; that of the table unless it is given.
        metadata: columns, or one expression that gives ``jsonb``.
        key: the columns that tell its rows apart; the primary key unless they are given.
        filter: a condition; a row that does not meet it has no source items.
        capture: how changes are noticed: ``statement``, ``row``, ``logical`` or ``scan``.
        on_error: what a fault of ours does to a statement that writes: ``warn`` or ``raise``.
        depends_on: other tables that the expressions read.

    What is not given is as the function in the database has it, which checks all of it. Rows that
    are there already come by ``pipeline sync NAME``, after the migration.
    """

    relation: str
    contents: Mapping[str, Mapping[str, Any]]
    name: str | None = None
    metadata: str | Sequence[str] | None = None
    key: str | Sequence[str] | None = None
    filter: str | None = None
    capture: str | None = None
    on_error: str | None = None
    depends_on: str | Sequence[str] | None = None

    @classmethod
    def attach_source(cls, operations: Operations, relation: str, **arguments: Any) -> None:
        """Makes source_items follow a table or a view."""
        operations.invoke(cls(relation, **arguments))

    def reverse(self) -> "DetachSourceOp":
        """What undoes it."""
        name = self.name if self.name is not None else _last_identifier(self.relation)
        return DetachSourceOp(name, attached=self)

    def to_diff_tuple(self) -> tuple[str, str]:
        """How ``alembic check`` shows it."""
        return "attach_source", self.relation

    def arguments(self) -> Iterator[tuple[str, sql.Composable]]:
        """Those that were given, as they are written in SQL."""
        yield "relation", _of_type("regclass", self.relation)
        yield "contents", _of_type("jsonb", json.dumps(self.contents, ensure_ascii=False))
        for called in ("name", "filter", "capture", "on_error"):
            if (value := getattr(self, called)) is not None:
                yield called, sql.Literal(value)
        if self.metadata is not None:
            columns = isinstance(self.metadata, str)
            yield "metadata", sql.Literal(self.metadata if columns else _array(self.metadata))
        if self.key is not None:
            yield "key", _of_type("text[]", _array(self.key))
        if self.depends_on is not None:
            yield "depends_on", _of_type("regclass[]", _array(self.depends_on))


@dataclass
class DetachSourceOp(MigrateOperation):
    """The end of an attached source, as ``detach_source()`` in SQL makes it.

    Args:
        name: of the source.
        keep_items: whether its source items and their vectors stay, as nobody's.
        attached: how it was attached, by which the operation is reversed.
    """

    name: str
    keep_items: bool = False
    attached: AttachSourceOp | None = None

    @classmethod
    def detach_source(cls, operations: Operations, name: str, keep_items: bool = False) -> None:
        """Ends what ``op.attach_source()`` began: nothing of it stays on the table."""
        operations.invoke(cls(name, keep_items))

    def reverse(self) -> AttachSourceOp:
        """What attaches it again.

        Raises:
            ValueError: how it was attached is not known.
        """
        if self.attached is None:
            raise ValueError(
                f"how {self.name} was attached is not known, so detaching it cannot be reversed; "
                f"give it: DetachSourceOp({self.name!r}, attached=AttachSourceOp(...))"
            )
        return self.attached

    def to_diff_tuple(self) -> tuple[str, str]:
        """How ``alembic check`` shows it."""
        return "detach_source", self.name

    def arguments(self) -> Iterator[tuple[str, sql.Composable]]:
        """As they are written in SQL."""
        yield "name", sql.Literal(self.name)
        if self.keep_items:
            yield "keep_items", sql.SQL("true")


def _run(operations: Operations, operation: AttachSourceOp | DetachSourceOp) -> None:
    """Calls the function, or writes the call into the script of ``--sql``."""
    statement = _statement(operation)
    context = operations.get_context()
    if context.as_sql:
        context.impl.static_output(statement + context.impl.command_terminator)
    else:
        # As it stands: neither a colon nor a percent sign of an expression means a parameter.
        operations.get_bind().exec_driver_sql(statement, execution_options={"no_parameters": True})


def _statement(operation: AttachSourceOp | DetachSourceOp) -> str:
    schema = _place["schema"] or Settings.load().database_schema
    called = "attach_source" if isinstance(operation, AttachSourceOp) else "detach_source"
    arguments = [
        sql.SQL("{} => {}").format(sql.SQL(name), value) for name, value in operation.arguments()
    ]
    return (
        sql.SQL("SELECT {}({})")
        .format(sql.Identifier(schema, called), sql.SQL(", ").join(arguments))
        .as_string()
    )


def _render(context: AutogenContext, operation: AttachSourceOp | DetachSourceOp) -> str:
    """The operation as a line of a revision."""
    if isinstance(operation, DetachSourceOp):
        keep = ", keep_items=True" if operation.keep_items else ""
        return f"op.detach_source({operation.name!r}{keep})"
    given = [
        f"{field.name}={value!r}"
        for field in fields(operation)[1:]
        if (value := getattr(operation, field.name)) is not None
    ]
    return f"op.attach_source({operation.relation!r}, {', '.join(given)})"


def _of_type(name: str, text: str) -> sql.Composable:
    return sql.SQL("CAST({} AS {})").format(sql.Literal(text), sql.SQL(name))


def _array(names: str | Sequence[str]) -> str:
    """An array of texts as PostgreSQL reads it; one name alone is one of one."""
    given = [names] if isinstance(names, str) else names
    return "{%s}" % ",".join(  # noqa: UP031
        '"' + name.replace("\\", r"\\").replace('"', r"\"") + '"' for name in given
    )


def _last_identifier(relation: str) -> str:
    """The table's own name, of what SQL calls it: ``products`` of ``Shop.Products``."""
    quoted, plain = _IDENTIFIER.findall(relation.strip())[-1]
    if quoted:
        return str(quoted).replace('""', '"')
    return re.sub("[A-Z]+", lambda found: found[0].lower(), str(plain).strip())
