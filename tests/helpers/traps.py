"""Traps: what a login puts in a schema to be taken for PostgreSQL's own, or for ours.

PostgreSQL prefers a function or operator of just the types that are given to one that they are
converted for, in whichever schema of the search path it is. So a trap is what a bare name means
with other types than its own: for every function and operator that our programs name, whatever
may be given in place of what it declares.

Whoever springs one gets an error, and the number of the trap stays behind, roll-back or not.
"""

import itertools
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.postgres.connections import Connection, fetch_one

ROOT = Path(__file__).parents[2]
# Whose statements run beside ours.
OTHERS = ("sqlalchemy/dialects/postgresql", "alembic/ddl", "psycopg")
SCALARS = (
    "text", "name", "varchar", "char", "oid", "regclass", "regnamespace", "int2", "int4", "int8",
    "regtype", "bool", "numeric", "float8", "timestamptz", "interval", "jsonb",
)  # fmt: skip
ARRAYS = ("_text", "_name", "_varchar", "_oid", "_int2", "_int4", "_int8", "_bool", "_regclass")
# What may be given where a function declares a type: it is converted then.
GIVEN_FOR: dict[str, tuple[str, ...]] = {
    "text": ("name", "varchar", "bpchar", "char"),
    "name": ("text", "varchar", "bpchar"),
    "oid": (
        "regclass",
        "regnamespace",
        "regproc",
        "regprocedure",
        "regrole",
        "regtype",
        "int4",
        "int8",
    ),
    "regclass": ("oid", "text", "varchar"),
    "int4": ("int2",),
    "int8": ("int4", "int2"),
    "numeric": ("int4", "int8", "float4"),
    "float8": ("int4", "int8", "numeric", "float4"),
    "timestamptz": ("timestamp", "date"),
    "_text": ("_varchar", "_name"),
    "_name": ("_text", "_varchar"),
    "any": SCALARS,
    "anyelement": SCALARS,
    "anynonarray": SCALARS,
    "anycompatible": SCALARS,
    "anycompatiblenonarray": SCALARS,
    "anyarray": ARRAYS,
    "anycompatiblearray": ARRAYS,
}
POLYMORPHIC = {name for name in GIVEN_FOR if name.startswith("any")}
IN_LISTS = ("text", "name", "varchar", "oid", "int4", "int8")  # of format() and the like
MOST = 500  # of one function
_TYPES = """
WITH types AS (
    SELECT oid, typtype, CASE typnamespace WHEN 'pg_catalog'::regnamespace THEN typname::text
        ELSE format('%%s.%%s', typnamespace::regnamespace, typname) END AS name
    FROM pg_type
), functions AS (
    SELECT p.*, ARRAY(
        SELECT t.name FROM unnest(p.proargtypes) WITH ORDINALITY AS a (oid, n)
        JOIN types AS t ON t.oid = a.oid ORDER BY a.n) AS types,
        EXISTS (SELECT FROM unnest(p.proargtypes) AS a (oid) JOIN types AS t ON t.oid = a.oid
                WHERE t.typtype = 'p' AND t.name <> ALL (%(polymorphic)s)) AS is_internal
    FROM pg_proc AS p
)
"""
_FUNCTIONS = (
    _TYPES
    + """
SELECT p.proname::text, p.prokind::text, p.provariadic <> 0, p.pronargdefaults,
    p.types,
    coalesce(p.proargnames[1:p.pronargs], '{}')
FROM functions AS p
WHERE p.pronamespace = %(schema)s::regnamespace AND p.proname = ANY (%(words)s)
  AND p.prokind <> 'w' AND NOT p.is_internal ORDER BY p.oid
"""
)
_THERE = (
    _TYPES
    + """
SELECT p.proname::text, p.types FROM functions AS p
UNION ALL
SELECT o.oprname::text, ARRAY[l.name, r.name]
FROM pg_operator AS o JOIN types AS l ON l.oid = o.oprleft JOIN types AS r ON r.oid = o.oprright
"""
)
OPERATORS = (
    "=", "<>", "<", ">", "<=", ">=", "||", "~", "!~", "+", "-", "*", "/", "&", "<<", "@>", "&&",
    "->>", "#>>",
)  # fmt: skip


@dataclass(frozen=True)
class Traps:
    """Those that were set in a database: their numbers are their places in ``names``."""

    names: list[str]

    def sprung(self, connection: Connection) -> str | None:
        """The last that was sprung, if one was."""
        (number, is_sprung) = fetch_one(
            connection.execute("SELECT last_value, is_called FROM traps.sprung")
        )
        return self.names[number] if is_sprung else None


def set_traps(connection: Connection, *schemas: str, of: str = "pg_catalog") -> Traps:
    """Set them in these schemas, for all that is named anywhere in our programs.

    Args:
        of: the schema whose functions they are taken for; PostgreSQL's operators as well.
    """
    connection.execute(
        "CREATE SCHEMA traps; CREATE SEQUENCE traps.sprung MINVALUE 0; "
        "GRANT USAGE ON SCHEMA traps TO PUBLIC; GRANT UPDATE ON SEQUENCE traps.sprung TO PUBLIC"
    )
    (oid,) = fetch_one(connection.execute("SELECT 'traps.sprung'::regclass::oid"))
    words = _named()
    signatures = {
        (name, types): (kind, argument)  # one that has the argument's name, where there are two
        for name, kind, types, argument in _signatures(connection, of, words)
    }
    operators = [
        (sign, left, right)
        for sign in (OPERATORS if of == "pg_catalog" else ())
        for types in (SCALARS, ARRAYS)
        for left, right in itertools.product(types, types)
    ]
    there = _there(connection)
    names: list[str] = []
    statements = []
    for schema in schemas:
        for (name, types), (kind, argument) in signatures.items():
            if (name, types) in there:
                continue
            body = _sprung(oid, len(names))
            statements.append(_function(schema, name, kind, types, argument, body))
            names.append(f"{schema}.{name}({', '.join(types)})")
        for sign, left, right in operators:
            if (sign, (left, right)) in there:
                continue
            number = len(names)
            statements.append(
                _function(schema, f"o{number}", "f", (left, right), None, _sprung(oid, number))
                + f"; CREATE OPERATOR {schema}.{sign} (LEFTARG = {_type(left)}, "
                f"RIGHTARG = {_type(right)}, FUNCTION = {schema}.o{number})"
            )
            names.append(f"{schema}.{left} {sign} {right}")
    with connection.transaction():
        connection.execute("SET LOCAL check_function_bodies = off")
        connection.execute(";\n".join(statements).encode())
    return Traps(names)


def _named() -> list[str]:
    """Whatever is called in our programs, and in those whose statements run beside ours."""
    site = Path(next(path for path in sys.path if path.endswith("site-packages")))
    files = [*ROOT.glob("pipeline/**/*.py"), *ROOT.glob("migrations/**/*.py")]
    files += ROOT.glob("sql/**/*.sql")
    for folder in OTHERS:
        files += (site / folder).glob("**/*.py")
    text = "\n".join(file.read_text("utf-8") for file in files)
    return sorted(set(re.findall(r"([a-z_][a-z0-9_]+)\s*\(", text)))


Signature = tuple[str, str, tuple[str, ...], str | None]


def _signatures(connection: Connection, schema: str, words: list[str]) -> Iterator[Signature]:
    """Name, kind, types, and the argument's name of one that is called by it."""
    for name, kind, is_variadic, defaults, types, names in connection.execute(
        _FUNCTIONS.encode(),
        {"schema": schema, "words": words, "polymorphic": sorted(POLYMORPHIC)},
    ).fetchall():
        if is_variadic:
            yield from _lists(name, kind, types)
            continue
        for count in range(len(types) - defaults, len(types) + 1):
            found = itertools.product(*(_given(declared) for declared in types[:count]))
            for given in itertools.islice(found, MOST):
                yield name, kind, given, None
        if defaults:
            for declared, argument in zip(types, names, strict=False):
                for given in _given(declared):
                    yield name, kind, (given,), argument


def _lists(name: str, kind: str, types: list[str]) -> Iterator[Signature]:
    leading = [_given(declared) for declared in types[:-1]]
    for more in range(3):
        for given in itertools.product(*leading, *[IN_LISTS] * more):
            yield name, kind, given, None


def _given(declared: str) -> tuple[str, ...]:
    others = GIVEN_FOR.get(declared, ())
    return others if declared in POLYMORPHIC else (declared, *others)


def _there(connection: Connection) -> set[tuple[str, tuple[str, ...]]]:
    """What has just these types already: a trap would be hidden by it."""
    asked = {"polymorphic": sorted(POLYMORPHIC)}
    rows = connection.execute(_THERE.encode(), asked).fetchall()
    return {(name, tuple(types)) for name, types in rows}


def _sprung(oid: int, number: int) -> str:
    return (
        f"BEGIN PERFORM pg_catalog.setval({oid}::pg_catalog.regclass, {number}::pg_catalog.int8); "
        "RAISE EXCEPTION 'sprung'; END"
    )


def _function(
    schema: str, name: str, kind: str, types: tuple[str, ...], argument: str | None, body: str
) -> str:
    shown = ", ".join(map(_type, types))
    if kind == "a" and types:
        state = ", ".join(["pg_catalog.text", *map(_type, types)])
        step = f'{schema}."step of {name}"'
        return (
            f"CREATE OR REPLACE FUNCTION {step}({state}) RETURNS pg_catalog.text "
            f'LANGUAGE plpgsql AS $${body}$$; CREATE AGGREGATE {schema}."{name}"({shown}) '
            f"(SFUNC = {step}, STYPE = pg_catalog.text)"
        )
    named = f'"{argument}" {shown}' if argument else shown
    what = "PROCEDURE" if kind == "p" else "FUNCTION"
    returns = "" if kind == "p" else " RETURNS pg_catalog.bool"
    return f'CREATE {what} {schema}."{name}"({named}){returns} LANGUAGE plpgsql AS $${body}$$'


def _type(name: str) -> str:
    return name if "." in name else f'pg_catalog."{name}"'
