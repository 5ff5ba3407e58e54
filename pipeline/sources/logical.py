"""Attached tables that are followed by logical decoding: what their slots say is synced.

A slot is only looked at until what it says is committed in ``source_items``; then it is moved on.
So what is interrupted is done again.
"""

import codecs
import json
from dataclasses import dataclass

from pipeline.errors import ConfigurationError, DatabaseError
from pipeline.postgres.connections import Connection, errors_of_ours, fetch_one
from pipeline.sources.pgoutput import KeyReader, Truncated

# More keys than these are found sooner by comparing all rows, which takes no memory.
MOST_KEYS = 100_000
# Settings on which the text of a value depends: those with which row keys are made.
_TEXTS = """
SELECT set_config(n, v, true) FROM (VALUES ('timezone', 'UTC'), ('datestyle', 'ISO, MDY'),
    ('intervalstyle', 'postgres'), ('extra_float_digits', '1'), ('bytea_output', 'hex'),
    ('lc_monetary', 'C')) AS s (n, v)
"""


@dataclass
class Followed:
    """What a slot said and was done about it.

    Attributes:
        keys: rows that were looked at; None: all of them, since it was not known which.
    """

    added: int = 0
    changed: int = 0
    removed: int = 0
    keys: int | None = 0


def follow(connection: Connection, name: str) -> Followed:
    """Sync what an attached table's slot says; the first time make the slot and sync all.

    Args:
        connection: outside a transaction, with READ COMMITTED; a login with REPLICATION.
        name: of an attached source with ``capture => 'logical'``.

    Raises:
        ConfigurationError: nothing is attached by that name, or not to be followed so.
        DatabaseError: the login may not read the slot, or the slot is lost.
    """
    attachment, slot = _attachment(connection, name)
    with errors_of_ours():
        if not _is_there(connection, slot):
            connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (slot,))
            return _sync(connection, name, None)
        keys, end = _read(connection, attachment, slot)
        if end is None:
            return Followed()
        done = _sync(connection, name, keys)
        connection.execute("SELECT pg_replication_slot_advance(%s, %s)", (slot, end))
    return done


def _attachment(connection: Connection, name: str) -> tuple[int, str]:
    """Its number, and the name of its slot."""
    row = connection.execute(
        "SELECT id, attached_slot(id), capture FROM attached_sources WHERE name = %s", (name,)
    ).fetchone()
    if row is None or row[2] != "logical":
        raise ConfigurationError(
            f"{name!r} is not followed by logical decoding; attach it with capture => 'logical'"
        )
    return row[0], row[1]


def _is_there(connection: Connection, slot: str) -> bool:
    row = connection.execute(
        "SELECT wal_status FROM pg_replication_slots WHERE slot_name = %s", (slot,)
    ).fetchone()
    if row is not None and row[0] == "lost":
        raise DatabaseError(
            f"the slot {slot} is lost: the server had to keep more of its log than "
            f"max_slot_wal_keep_size; run SELECT pg_drop_replication_slot('{slot}'), and sync again"
        )
    return row is not None


def _read(connection: Connection, attachment: int, slot: str) -> tuple[set[str] | None, str | None]:
    """The row keys, None where all are to be compared, and where the slot is then to go, if on."""
    reader = KeyReader(
        [
            str(column)
            for (column,) in connection.execute(
                "SELECT (parse_ident(name))[1] FROM attached_key(%s) ORDER BY n", (attachment,)
            )
        ],
        _encoding(connection),
    )
    keys: set[str] | None = set()
    end = None
    with connection.transaction(), connection.cursor(f"{slot}_changes", binary=True) as cursor:
        connection.execute(_TEXTS)
        cursor.execute(
            "SELECT lsn::text, data FROM pg_logical_slot_peek_binary_changes(%s, NULL, %s, "
            "'proto_version', '1', 'publication_names', %s)",
            (slot, MOST_KEYS, f"pipeline_source_{attachment}"),
        )
        for lsn, message in cursor:
            end = lsn
            found = reader.read(message)
            if found is None or isinstance(found, Truncated):
                keys = None
            elif keys is not None:
                keys.update(key[0] if len(key) == 1 else json.dumps(key) for key in found)
                if len(keys) > MOST_KEYS:
                    keys = None
    return keys, end


def _encoding(connection: Connection) -> str:
    called = connection.info.parameter_status("server_encoding") or "UTF8"
    try:
        return codecs.lookup(called).name
    except LookupError as exc:
        raise DatabaseError(
            f"the database's encoding {called} cannot be read here, so not be followed by logical "
            "decoding; attach with capture => 'statement'"
        ) from exc


def _sync(connection: Connection, name: str, keys: set[str] | None) -> Followed:
    row = fetch_one(
        connection.execute(
            "SELECT added, changed, removed FROM sync_source(%s, %s)",
            (name, None if keys is None else sorted(keys)),
        )
    )
    added, changed, removed = row
    return Followed(added, changed, removed, None if keys is None else len(keys))
