"""A table or view as a source: what is said of it, and attaching it.

The work is done in the database, by ``attach_source()`` and its neighbours; see docs/sources.md.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from psycopg import sql
from psycopg.pq import TransactionStatus

from pipeline.errors import ConfigurationError
from pipeline.postgres.connections import Connection, errors_of_ours, fetch_one
from pipeline.settings import DEFAULT_SCHEMA


@dataclass(frozen=True, slots=True)
class Content:
    """One thing of a row that is embedded.

    Attributes:
        modality: a name of ``known_modalities``.
        content: a column of the table, or an SQL expression over its columns: a text, or the path
            or URI of what is elsewhere. Null and empty give no source item.
        each: it is an array (or a JSON array), of which every element is content by itself.
    """

    modality: str
    content: str
    each: bool = False


@dataclass(frozen=True, slots=True)
class Attachment:
    """A table or view, and what of its rows is embedded.

    Attributes:
        relation: its name in SQL, such as ``public.products``.
        contents: by name, each a :class:`Content` or a mapping of the same words.
        name: of the source; None: the table's.
        metadata: columns to filter and show by, or an SQL expression that gives ``jsonb``.
        key: columns that tell the rows apart; None: the primary key, or else the columns of a
            unique index that cannot be null.
        filter: an SQL condition; other rows give nothing.
        capture: how changes are noticed: auto, statement, row, logical or scan.
        on_error: what a fault of ours does to the statement that writes: warn, or raise.
        depends_on: other tables that the expressions read, whose changes lead to a sync.
    """

    relation: str
    contents: Mapping[str, Content | Mapping[str, Any]]
    name: str | None = None
    metadata: Sequence[str] | str | None = None
    key: Sequence[str] | None = None
    filter: str | None = None
    capture: str = "auto"
    on_error: str = "warn"
    depends_on: Sequence[str] = ()


_ATTACH = """
SELECT {}(%(relation)s::pg_catalog.regclass, %(contents)s::pg_catalog.jsonb, name => %(name)s,
    metadata => coalesce(%(columns)s::pg_catalog.text[]::pg_catalog.text,
                         %(expression)s::pg_catalog.text),
    key => %(key)s::pg_catalog.text[], filter => %(filter)s, capture => %(capture)s,
    on_error => %(on_error)s, depends_on => %(depends_on)s::pg_catalog.regclass[])
"""


@errors_of_ours()
def attach(connection: Connection, attachment: Attachment, *, schema: str = DEFAULT_SCHEMA) -> str:
    """Have source items follow a table or view from now on; the name of the source.

    Its rows that are there already come by :func:`pipeline.sources.attached_sync.sync`.

    Args:
        connection: of the table's owner, or of a member of it. Names in the attachment are what
            they are for its search path.
        schema: that of our tables.

    Raises:
        ConfigurationError: an argument cannot be used as given.
        DatabaseError: the database refuses: no such table or column, no key, not the owner.
    """
    for relation in (attachment.relation, *attachment.depends_on):
        _check_relation(relation)
    statement = sql.SQL(_ATTACH).format(sql.Identifier(schema, "attach_source"))
    metadata, is_text = attachment.metadata, isinstance(attachment.metadata, str)
    (name,) = fetch_one(
        connection.execute(
            statement,
            {
                "relation": attachment.relation,
                "contents": json.dumps(_contents(attachment)),
                "name": attachment.name,
                "columns": None if metadata is None or is_text else list(metadata),
                "expression": metadata if is_text else None,
                "key": None if attachment.key is None else list(attachment.key),
                "filter": attachment.filter,
                "capture": attachment.capture,
                "on_error": attachment.on_error,
                "depends_on": list(attachment.depends_on),
            },
        )
    )
    return str(name)


_PART = r'\s*(?:"(?:[^"]|"")+"|[^\s".]+)\s*'
_RELATION = re.compile(rf"{_PART}(?:\.{_PART}){{0,2}}")


def _check_relation(name: str) -> None:
    """PostgreSQL would only say that its syntax is invalid, not whose."""
    if not _RELATION.fullmatch(name):
        quoted = '"{}"'.format(name.replace('"', ""))
        raise ConfigurationError(
            f"{name!r} is not how a table is named: write it as in SQL, such as products, "
            f"shop.products or, with its quotes, {quoted}"
        )


# Of those that nobody has locked.
_SOME = """
DELETE FROM {items} AS i USING (
    SELECT s.id FROM {items} AS s
    WHERE s.source IN (
        SELECT unnest(a.sources) FROM {sources} AS a JOIN pg_class AS c ON c.oid = a.relation
        WHERE a.name = %s AND pg_has_role(c.relowner, 'USAGE'))
    LIMIT 2000 FOR UPDATE SKIP LOCKED
) AS free WHERE i.id = free.id
"""


@errors_of_ours()
def detach(
    connection: Connection,
    name: str,
    *,
    keep_items: bool = False,
    schema: str = DEFAULT_SCHEMA,
) -> int:
    """End what :func:`attach` began; how many source items it had.

    Args:
        keep_items: whether they and their items stay, as nobody's.

    Raises:
        ConfigurationError: there is no such source.
        DatabaseError: the database refuses: not the owner of the table, or something needs a view
            that goes.
    """
    released = 0 if keep_items else _release(connection, name, schema)
    statement = sql.SQL("SELECT {}(%s, keep_items => %s)").format(
        sql.Identifier(schema, "detach_source")
    )
    (count,) = fetch_one(connection.execute(statement, (name, keep_items)))
    return released + int(count)


def _release(connection: Connection, name: str, schema: str) -> int:
    """Remove most source items before the table is locked, as it is while the rest goes."""
    if not connection.autocommit or connection.info.transaction_status != TransactionStatus.IDLE:
        return 0
    some = sql.SQL(_SOME).format(
        items=sql.Identifier(schema, "source_items"),
        sources=sql.Identifier(schema, "attached_sources"),
    )
    released = 0
    while count := connection.execute(some, (name,)).rowcount:
        released += count
    return released


def _contents(attachment: Attachment) -> dict[str, Any]:
    """As ``attach_source()`` takes them."""
    if not isinstance(attachment.contents, Mapping):
        raise ConfigurationError(
            f"contents is {attachment.contents!r}; a mapping from names is expected, such as "
            "{'title': Content('text', 'title')}"
        )
    found: dict[str, Any] = {}
    for name, content in attachment.contents.items():
        if isinstance(content, Content):
            found[name] = asdict(content)
        elif isinstance(content, Mapping):
            found[name] = dict(content)
        else:
            raise ConfigurationError(
                f"contents[{name!r}] is {content!r}; a Content or a mapping is expected"
            )
    return found
