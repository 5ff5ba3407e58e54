"""Installs the files of ``sql/``: functions, triggers, views, the roles and their rights.

Migrations make tables and are frozen once released. What the tables need around them has no
history: the files hold the newest text, and every ``migrate`` installs all of them again when that
text is not the one that ``installed_sql`` says was installed last.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psycopg
from psycopg import sql

from pipeline.errors import DatabaseError
from pipeline.postgres.connections import Connection, explain, fetch_one
from pipeline.postgres.installed import Installed, forget, read_installed, record
from pipeline.postgres.objects import MARKS, drop_objects, list_objects, list_settings
from pipeline.postgres.role_holders import warn_of_holders
from pipeline.postgres.sql_files import (
    GRANTS,
    Schemas,
    digest,
    file_to_uninstall,
    files_to_install,
    fill_in,
)
from pipeline.postgres.strangers import risk
from pipeline.postgres.table_locks import IN_USE
from pipeline.postgres.told import warnings_told
from pipeline.postgres.triggers import standing_triggers, without_standing

logger = logging.getLogger(__name__)

# A parameter of this name is anybody's, and lasts as long as the transaction.
_THERE_BEFORE = """
SELECT set_config('pipeline.there_before', coalesce(array_agg(o.oid), '{}')::text, true)
FROM pg_namespace AS n CROSS JOIN LATERAL (
    SELECT oid FROM pg_class WHERE relnamespace = n.oid
    UNION ALL
    SELECT oid FROM pg_proc WHERE pronamespace = n.oid
) AS o WHERE n.nspname = %s
"""
ROLES = ("pipeline_analyst", "pipeline_ingest", "pipeline_owner")


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
    schemas = schemas_of(connection)
    before = read_installed(connection) or Installed("", False, (), ())
    if strangers := risk(connection, schemas.names[0]):
        logger.warning("%s", strangers[1])
    if is_standing(connection, roles=roles):
        return False
    are_there, can_be_made = _roles(connection)
    allowed = roles and (are_there or can_be_made)
    texts = files_to_install(schemas, roles=allowed)
    sha256 = digest(texts)
    lost = before.sha256 != "" and _rights_are_lost(connection)
    if lost:
        note_what_is_there(connection, None)
    # A database that was restored from elsewhere may say so of roles that have nothing here.
    given = before.grants if are_there and not lost else ()
    grants = _paragraphs(texts.pop(GRANTS)) if allowed else given
    if allowed and not given:
        warn_of_holders(connection, ROLES)
    known = set(before.objects)
    # Those of a database that an earlier release installed into are taken for ours.
    theirs = list_settings(connection) - known if _tells_settings(before) else set()
    with _naming_in_full(connection, schemas), warnings_told(connection, schemas, ROLES):
        strange = {name for name, _ in list_objects(connection, schemas)} - known
        kept_triggers = _run_files(connection, schemas, texts)
        for paragraph in grants:
            if paragraph not in given:
                _run(connection, GRANTS, paragraph)
        found = [
            (name, is_new or name in kept_triggers)
            for name, is_new in list_objects(connection, schemas)
        ]
        made = [name for name, is_ours in found if is_ours]
        _check_names(strange & set(made))
        gone = [name for name, is_ours in found if name in known and not is_ours]
        kept = [name for name in gone if not _dropped(connection, schemas, name)]
    objects = (*made, *kept, *sorted(list_settings(connection) - theirs))
    record(connection, Installed(sha256, allowed, objects, grants, before.ef_search))
    if roles and not allowed:
        logger.warning(
            "this login may not create the roles of docs/security.md, so nobody has their rights; "
            "before the next migrate an administrator runs: %s",
            "; ".join(f"CREATE ROLE {role}" for role in _missing_roles(connection)),
        )
    return True


def _tells_settings(before: Installed) -> bool:
    """Whether what was installed last, if anything, noted which settings it made."""
    return not before.sha256 or any(name.startswith("setting ") for name in before.objects)


def _check_names(overwritten: set[str]) -> None:
    # Where our triggers are among it, what is not there is the record.
    if overwritten and not any(name.startswith("trigger ") for name in overwritten):
        raise DatabaseError(
            f"{', '.join(sorted(overwritten))} was there already and is not the pipeline's, "
            "which needs the name; rename yours, or give the pipeline a schema of its own"
        )


def note_what_is_there(connection: Connection, schema: str | None) -> None:
    """For the files, as they are run in this transaction: what it has not made.

    What default privileges give is taken from what it makes; on the rest it is somebody's word.

    Args:
        schema: that of our tables; None: as if nothing had been there.
    """
    connection.execute(_THERE_BEFORE, (schema,))


def is_standing(connection: Connection, *, roles: bool) -> bool:
    """Whether :func:`install` has nothing to do."""
    before = read_installed(connection)
    if before is None:
        return False
    are_there, can_be_made = _roles(connection)
    allowed = roles and (are_there or can_be_made)
    texts = files_to_install(schemas_of(connection), roles=allowed)
    return (
        before.sha256 == digest(texts)
        and (are_there or not allowed)
        and not _rights_are_lost(connection)
        and not set(before.objects) & MARKS - list_settings(connection)
    )


def is_current(connection: Connection) -> bool:
    """Whether what was installed last is the text of this release."""
    found = read_installed(connection)
    return found is not None and found.sha256 == digest(
        files_to_install(schemas_of(connection), roles=found.roles)
    )


def uninstall(connection: Connection, *, for_good: bool = True) -> None:
    """Remove what :func:`install` made.

    Args:
        for_good: whether the database's settings, the loop-back and, where nothing else uses them,
            the roles go as well; else their members would have to be made such again.

    Raises:
        DatabaseError: something that is not ours depends on it, and stays as it is.
    """
    schemas = schemas_of(connection)
    installed = read_installed(connection)
    if installed is None:
        return
    with _naming_in_full(connection, schemas):
        # These hang on functions, and the roles have rights on views.
        for name in ("full_text_index", "compact_triggers"):
            _run_to_uninstall(connection, schemas, f"{name}.sql")
        there = {name for name, _ in list_objects(connection, schemas)}
        drop_objects(connection, schemas, [name for name in installed.objects if name in there])
        for name in ("search_defaults", "loopback", "roles") if for_good else ():
            _run_to_uninstall(connection, schemas, f"{name}.sql")
    forget(connection)


def installed_functions(connection: Connection) -> list[str]:
    """Those of ours by their identities, such as ``public.query_key(text)``."""
    installed, schemas = read_installed(connection), schemas_of(connection)
    objects = [item.partition(" ") for item in (installed.objects if installed else ())]
    return [fill_in(name, schemas) for kind, _, name in objects if kind == "function"]


def schemas_of(connection: Connection) -> Schemas:
    """Where our tables and pgvector are."""
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
    are_there, can_be_made = fetch_one(
        connection.execute(
            """
            SELECT (SELECT count(*) FROM pg_roles WHERE rolname = ANY (%s)) = %s,
                (SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user)
            """,
            (list(ROLES), len(ROLES)),
        )
    )
    return are_there, can_be_made


def _rights_are_lost(connection: Connection) -> bool:
    """Whether this is a copy without its rights, as ``pg_restore --no-acl`` makes it."""
    (lost,) = fetch_one(
        connection.execute(
            """
            SELECT coalesce(has_function_privilege(
                'public', to_regprocedure('source_items_truncated()'), 'EXECUTE'), false)
            """
        )
    )
    return bool(lost)


def _missing_roles(connection: Connection) -> list[str]:
    rows = connection.execute(
        "SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)", (list(ROLES),)
    )
    there = {role for (role,) in rows}
    return [role for role in ROLES if role not in there]


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
    row = fetch_one(connection.execute("SELECT current_setting('search_path')"))
    # Loads pgvector's library, which defines the settings hnsw.* that functions set.
    connection.execute(sql.SQL("SELECT '[1]'::{}.vector").format(sql.SQL(schemas.vector)))
    connection.execute("SET LOCAL search_path = pg_catalog, pg_temp")
    connection.execute("SET LOCAL check_function_bodies = off")
    yield
    connection.execute("SELECT set_config('search_path', %s, true)", row)


def _run_files(connection: Connection, schemas: Schemas, texts: Mapping[str, str]) -> set[str]:
    """Gives the triggers that were there as the files want them, and were left as they are."""
    standing = standing_triggers(connection, schemas)
    kept: set[str] = set()
    for name, text in texts.items():
        changes, as_wanted = without_standing(text, standing)
        kept.update(as_wanted)
        _run(connection, name, changes)
    return kept


def _run(connection: Connection, name: str, text: str) -> None:
    try:
        connection.execute(text.encode())
    except IN_USE:
        raise  # the migration steps aside, and tries again
    except psycopg.Error as exc:
        raise DatabaseError(f"the database refuses sql/{name}: {explain(exc)}") from exc


def _run_to_uninstall(connection: Connection, schemas: Schemas, name: str) -> None:
    _run(connection, f"uninstall/{name}", file_to_uninstall(schemas, name))


def _dropped(connection: Connection, schemas: Schemas, name: str) -> bool:
    """Drop what this release no longer has, and say so where something of the user's needs it."""
    try:
        with connection.transaction():
            drop_objects(connection, schemas, [name])
    except DatabaseError as exc:
        logger.warning("%s is no longer part of the pipeline, but stays: %s", name, exc)
        return False
    return True
