"""Installs the files of ``sql/``: functions, triggers, views, the roles and their rights.

Migrations make tables and are frozen once released. What the tables need around them has no
history: the files hold the newest text, and every ``migrate`` installs all of them again when that
text is not the one that ``installed_sql`` says was installed last.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from pipeline.errors import DatabaseError
from pipeline.postgres.connections import Connection, explain
from pipeline.postgres.sql_files import (
    GRANTS,
    Schemas,
    digest,
    file_to_uninstall,
    files_to_install,
    fill_in,
)
from pipeline.version import __version__

logger = logging.getLogger(__name__)

ROLES = ("pipeline_analyst", "pipeline_ingest", "pipeline_owner")
# What files make and DROP can take away, each kind after those that may use it. The index and the
# settings of the database are not among it: sql/uninstall/ knows those.
KINDS = ("trigger", "view", "procedure", "function")


@dataclass(frozen=True, slots=True)
class Installed:
    """What ``installed_sql`` says; an object is as ``view @schema@.item_catalog``."""

    sha256: str
    roles: bool
    objects: tuple[str, ...]
    grants: tuple[str, ...]


def install(connection: Connection, *, roles: bool) -> bool:
    """Make the database's functions, triggers and views those of this release.

    In the caller's transaction, whose migrations have brought the tables up to date. Costs a few
    short queries when nothing changed.

    Args:
        roles: whether the roles ``pipeline_*`` are wanted.

    Returns:
        Whether anything was to be done.

    Raises:
        ConfigurationError: the schema's name cannot stand in the files.
        DatabaseError: a statement is refused, or would replace what is not ours.
    """
    schemas = _schemas(connection)
    before = read_installed(connection) or Installed("", False, (), ())
    are_there, can_be_made = _roles(connection)
    allowed = roles and (are_there or can_be_made)
    texts = files_to_install(schemas, roles=allowed)
    sha256 = digest(texts)
    if before.sha256 == sha256 and (are_there or not allowed):
        return False
    if roles and not allowed:
        logger.warning(
            "the migrating role may not create roles, so there are none; see docs/security.md"
        )
    # Roles that are not there have nothing of what a database restored from elsewhere says.
    given = before.grants if are_there else ()
    grants = _paragraphs(texts.pop(GRANTS)) if allowed else given
    known = set(before.objects)
    with _naming_in_full(connection, schemas):
        strange = {name for name, _ in _objects(connection, schemas)} - known
        for name, text in texts.items():
            _run(connection, f"sql/{name}", text)
        for paragraph in grants:
            if paragraph not in given:
                _run(connection, f"sql/{GRANTS}", paragraph)
        found = _objects(connection, schemas)
        made = [name for name, is_new in found if is_new]
        overwritten = strange & set(made)
        # Where our triggers are among it, what is not there is the record.
        if overwritten and not any(name.startswith("trigger ") for name in overwritten):
            raise DatabaseError(
                f"{', '.join(sorted(overwritten))} was there already and is not the pipeline's, "
                "which needs the name; rename yours, or give the pipeline a schema of its own"
            )
        gone = [name for name, is_new in found if name in known and not is_new]
        kept = [name for name in gone if not _dropped(connection, schemas, name)]
    _record(connection, Installed(sha256, allowed, (*made, *kept), grants))
    return True


def is_current(connection: Connection) -> bool:
    """Whether what was installed last is the text of this release."""
    found = read_installed(connection)
    return found is not None and found.sha256 == digest(
        files_to_install(_schemas(connection), roles=found.roles)
    )


def uninstall(connection: Connection) -> None:
    """Remove what :func:`install` made, and the roles where nothing else uses them.

    Raises:
        DatabaseError: something that is not ours depends on it, and stays as it is.
    """
    schemas = _schemas(connection)
    installed = read_installed(connection)
    if installed is None:
        return
    with _naming_in_full(connection, schemas):
        _run(connection, "full_text_index", file_to_uninstall(schemas, "full_text_index.sql"))
        ours = [name for name, _ in _objects(connection, schemas) if name in installed.objects]
        for kind in KINDS:
            _drop(connection, schemas, [name for name in ours if name.startswith(f"{kind} ")])
        for name in ("search_defaults.sql", "roles.sql"):
            _run(connection, name, file_to_uninstall(schemas, name))
    connection.execute("DELETE FROM installed_sql")


def read_installed(connection: Connection) -> Installed | None:
    """What was installed last, if anything was."""
    row = connection.execute("SELECT to_regclass('installed_sql') IS NOT NULL").fetchone()
    if row and row[0]:
        row = connection.execute(
            "SELECT sha256, roles, objects, grants FROM installed_sql"
        ).fetchone()
        return Installed(row[0], row[1], tuple(row[2]), tuple(row[3])) if row else None
    return None


def _record(connection: Connection, installed: Installed) -> None:
    connection.execute("DELETE FROM installed_sql")
    connection.execute(
        """
        INSERT INTO installed_sql (sha256, version, roles, objects, grants)
        VALUES (%s, %s, %s, %s, %s)
        """,
        (
            installed.sha256,
            __version__,
            installed.roles,
            list(installed.objects),
            list(installed.grants),
        ),
    )


def _schemas(connection: Connection) -> Schemas:
    row = connection.execute(
        """
        SELECT quote_ident(current_schema()), quote_ident(n.nspname)
        FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
        WHERE e.extname = 'vector'
        """
    ).fetchone()
    if row is None or row[0] is None:
        raise DatabaseError("the search path names no schema, or pgvector is not installed in it")
    return Schemas(*row)


def _roles(connection: Connection) -> tuple[bool, bool]:
    """Whether the roles are there, and whether they could be made."""
    row = connection.execute(
        """
        SELECT (SELECT count(*) FROM pg_roles WHERE rolname = ANY (%s)) = %s,
            (SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user)
        """,
        (list(ROLES), len(ROLES)),
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def _paragraphs(text: str) -> tuple[str, ...]:
    """What stands between blank lines, but for mere comments."""
    return tuple(
        part
        for part in text.strip().split("\n\n")
        if not all(line.startswith("--") for line in part.splitlines())
    )


@contextmanager
def _naming_in_full(connection: Connection, schemas: Schemas) -> Iterator[None]:
    """For the files: a search path of ``pg_catalog`` alone, and bodies that are not looked at."""
    row = connection.execute("SELECT current_setting('search_path')").fetchone()
    assert row is not None
    # Loads pgvector's library, which defines the settings hnsw.* that functions set.
    connection.execute(sql.SQL("SELECT '[1]'::{}.vector").format(sql.SQL(schemas.vector)))
    connection.execute("SET LOCAL search_path = pg_catalog, pg_temp")
    connection.execute("SET LOCAL check_function_bodies = off")
    yield
    connection.execute("SELECT set_config('search_path', %s, true)", row)


def _run(connection: Connection, name: str, text: str) -> None:
    try:
        connection.execute(text.encode())
    except psycopg.Error as exc:
        raise DatabaseError(f"{name} cannot be installed: {explain(exc)}") from exc


# An object is new when this transaction wrote its row of the catalogue: CREATE OR REPLACE always
# does. (A row that a block with EXCEPTION writes has the number of a subtransaction instead.)
_OBJECTS = """
SELECT i.type || ' ' || replace(i.identity, %(schema)s || '.', '@schema@.'),
    o.xmin = pg_current_xact_id()::xid
FROM (
    SELECT 'pg_proc'::regclass AS catalogue, oid, xmin FROM pg_proc
    WHERE pronamespace = %(schema)s::regnamespace
    UNION ALL
    SELECT 'pg_class'::regclass, oid, xmin FROM pg_class
    WHERE relnamespace = %(schema)s::regnamespace AND relkind = 'v'
    UNION ALL
    SELECT 'pg_trigger'::regclass, t.oid, t.xmin
    FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
    WHERE c.relnamespace = %(schema)s::regnamespace AND NOT t.tgisinternal
) AS o
CROSS JOIN LATERAL pg_identify_object(o.catalogue, o.oid, 0) AS i
WHERE i.type = ANY (%(kinds)s) AND NOT EXISTS (
    SELECT FROM pg_depend AS d
    WHERE d.classid = o.catalogue AND d.objid = o.oid AND d.deptype = 'e')
ORDER BY array_position(%(kinds)s, i.type), i.identity
"""


def _objects(connection: Connection, schemas: Schemas) -> list[tuple[str, bool]]:
    """Routines, views and triggers of our schema, anybody's, and which of them are new."""
    return connection.execute(_OBJECTS, {"schema": schemas.schema, "kinds": list(KINDS)}).fetchall()


def _drop(connection: Connection, schemas: Schemas, objects: Sequence[str]) -> None:
    """All of these, which are of one kind and may use each other."""
    if not objects:
        return
    kind = objects[0].partition(" ")[0]
    names = [sql.SQL(fill_in(name.partition(" ")[2], schemas)) for name in objects]
    # Triggers are dropped one at a time.
    for together in [[name] for name in names] if kind == "trigger" else [names]:
        try:
            connection.execute(
                sql.SQL("DROP {} {}").format(sql.SQL(kind), sql.SQL(", ").join(together))
            )
        except psycopg.errors.DependentObjectsStillExist as exc:
            raise DatabaseError(
                f"something of yours depends on the pipeline's: {exc.diag.message_detail}; "
                "drop it first"
            ) from exc


def _dropped(connection: Connection, schemas: Schemas, name: str) -> bool:
    """Drop what a release no longer has; not where somebody's view or the like needs it."""
    try:
        with connection.transaction():
            _drop(connection, schemas, [name])
    except DatabaseError as exc:
        logger.warning("%s is no longer part of the pipeline, but stays: %s", name, exc)
        return False
    return True
