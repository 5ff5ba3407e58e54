"""The ``ef_search`` of plain SQL: the database's default, where it is ours to set.

The search functions look up what each pair needs. A plain ``ORDER BY embedding <=> ...`` has what
its session has, which is the database's default: that follows the active space, but only in a
database that we own, whose value nobody else has set, and in which nobody else has an HNSW index:
those searches would take longer by it.
"""

import logging
from dataclasses import dataclass

import psycopg
from psycopg import sql

from pipeline.postgres.connections import Connection, fetch_one, short_lock_timeout
from pipeline.postgres.installed import note_ef_search, read_installed
from pipeline.postgres.rights import may
from pipeline.spaces import Space, find_active

logger = logging.getLogger(__name__)

LEAST = 100  # what sql/schema/search_defaults.sql sets
LOCK_TIMEOUT_MS = 2000

_STATE = """
SELECT (SELECT split_part(c.entry, '=', 2)::integer
        FROM pg_db_role_setting AS s CROSS JOIN unnest(s.setconfig) AS c (entry)
        WHERE s.setrole = 0 AND s.setdatabase = d.oid AND c.entry ~ '^hnsw\\.ef_search=[0-9]+$'),
    pg_has_role(d.datdba, 'USAGE') AND has_table_privilege('installed_sql', 'UPDATE'),
    ARRAY(SELECT i.indexrelid::regclass::text
          FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
          JOIN pg_am AS a ON a.oid = c.relam
          WHERE a.amname = 'hnsw' AND i.indrelid <> 'multimodal_items'::regclass
            AND i.indrelid NOT IN (
                SELECT t.oid FROM space_modalities AS m
                CROSS JOIN to_regclass(format('multimodal_items_%s_s%s', m.modality, m.space_id))
                    AS t (oid) WHERE t.oid IS NOT NULL)
          ORDER BY 1)
FROM pg_database AS d WHERE d.datname = current_database()
"""


@dataclass(frozen=True, slots=True)
class DefaultEfSearch:
    """Of the database.

    Attributes:
        value: None: it is not set, and sessions have pgvector's 40.
        is_free: nobody else has set it.
        may_set: this login owns the database.
        foreign: the HNSW indexes of others.
    """

    value: int | None
    is_free: bool
    may_set: bool
    foreign: tuple[str, ...]


def default_ef_search(connection: Connection) -> DefaultEfSearch:
    """What it is, and whose."""
    value, may_set, foreign = fetch_one(connection.execute(_STATE))
    installed = read_installed(connection)
    is_marked = installed is not None and "setting hnsw.ef_search" in installed.objects
    ours = (None, LEAST, installed.ef_search) if installed and is_marked else (None,)
    return DefaultEfSearch(value, value in ours, may_set, tuple(foreign))


def wanted(space: Space | None) -> int:
    """What plain SQL over the active space needs; a compact index does not serve it."""
    if space is None or space.compact_dimensions is not None:
        return LEAST
    return max(LEAST, space.ef_search)


def follow(connection: Connection) -> bool:
    """Make the default what the active space needs, where it is ours to set; whether it was done.

    Where an HNSW index of somebody else's has come since, it is taken back.
    """
    if not may(connection, "installed_sql", "SELECT"):
        return False
    found = default_ef_search(connection)
    value = LEAST if found.foreign else wanted(find_active(connection))
    if found.value == value or not (found.is_free and found.may_set):
        return False
    if found.value is None and value == LEAST:
        return False  # somebody has reset it, or `pipeline migrate` sets it
    try:
        with short_lock_timeout(connection, LOCK_TIMEOUT_MS):
            note_ef_search(connection, value)
            connection.execute(statement(connection, value))
    except (psycopg.errors.LockNotAvailable, psycopg.errors.ReadOnlySqlTransaction) as exc:
        logger.warning("the database's default of hnsw.ef_search is left for now: %s", exc)
        return False
    logger.info("new sessions have hnsw.ef_search = %d", value)
    return True


def statement(connection: Connection, value: int) -> sql.Composed:
    """What sets it."""
    return sql.SQL("ALTER DATABASE {} SET {} = {}").format(
        sql.Identifier(connection.info.dbname),
        sql.Identifier("hnsw", "ef_search"),
        sql.Literal(str(value)),
    )
