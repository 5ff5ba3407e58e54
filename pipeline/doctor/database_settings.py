"""Settings of the database that searches rely on."""

from collections.abc import Iterator

from psycopg import sql

from pipeline.doctor.check import Check
from pipeline.postgres.connections import Connection
from pipeline.quality import plain_sql
from pipeline.spaces import find_active


def settings_of_database(connection: Connection) -> Iterator[Check]:
    connection.execute("SELECT '[1]'::vector")  # loads the library, which defines the settings
    setting = _setting(connection, "hnsw.iterative_scan")
    statement = sql.SQL("ALTER DATABASE {} SET {} = 'relaxed_order'").format(
        sql.Identifier(connection.info.dbname), sql.Identifier("hnsw", "iterative_scan")
    )
    ok = setting != "off"
    yield Check("hnsw.iterative_scan", ok, setting, "" if ok else statement.as_string(connection))
    yield _ef_search(connection, _setting(connection, "hnsw.ef_search"))


def _ef_search(connection: Connection, setting: str) -> Check:
    """Whether plain SQL finds what the functions find."""
    active = find_active(connection)
    wanted = plain_sql.wanted(active)
    if int(setting) >= wanted:
        return Check("hnsw.ef_search", True, setting)
    statement = plain_sql.statement(connection, wanted).as_string(connection)
    if active is None or wanted == plain_sql.LEAST:
        return Check("hnsw.ef_search", False, setting, statement)
    found = (
        f"{setting}, but plain SQL over the space {active.name} needs {wanted} for a recall of "
        f"{active.target_recall:g}"
    )
    foreign = plain_sql.default_ef_search(connection).foreign
    if not foreign:
        return Check("hnsw.ef_search", False, found, statement)
    more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
    return Check(
        "hnsw.ef_search",
        int(setting) >= plain_sql.LEAST,
        f"{found}; for the whole database it would slow searches by {foreign[0]}{more} as well",
        f"SET hnsw.ef_search = {wanted} in sessions that search multimodal_items, or {statement}",
    )


def _setting(connection: Connection, name: str) -> str:
    row = connection.execute("SELECT setting FROM pg_settings WHERE name = %s", (name,)).fetchone()
    return row[0] if row else "unknown"
