"""Settings of the database that searches rely on."""

from collections.abc import Iterator

from psycopg import sql

from pipeline.doctor.check import Check
from pipeline.postgres.connections import Connection


def settings_of_database(connection: Connection) -> Iterator[Check]:
    connection.execute("SELECT '[1]'::vector")  # loads the library, which defines the settings
    for name, wanted in {"hnsw.iterative_scan": "relaxed_order", "hnsw.ef_search": "100"}.items():
        row = connection.execute(
            "SELECT setting, source FROM pg_settings WHERE name = %s", (name,)
        ).fetchone()
        setting = row[0] if row else "unknown"
        ok = setting != "off" if name == "hnsw.iterative_scan" else int(setting) >= 100
        statement = sql.SQL("ALTER DATABASE {} SET {} = {}").format(
            sql.Identifier(connection.info.dbname),
            sql.Identifier(*name.split(".")),
            sql.Literal(wanted),
        )
        yield Check(name, ok, setting, "" if ok else statement.as_string(connection))
