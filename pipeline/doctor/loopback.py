"""Whether the server reaches itself, as ``text_embedding()`` needs for a text that is new."""

from collections.abc import Iterator

import psycopg

from pipeline.doctor.check import Check
from pipeline.postgres.connections import Connection, explain, fetch_one


def loopback(connection: Connection) -> Iterator[Check]:
    """For who owns the functions: nobody else may try it. A standby asks elsewhere."""
    may, is_there = fetch_one(
        connection.execute(
            """
            SELECT has_function_privilege('run_by_loopback(text)', 'EXECUTE')
                AND has_function_privilege('loopback_connection()', 'EXECUTE')
                AND NOT pg_is_in_recovery(), EXISTS (
                    SELECT FROM pg_extension WHERE extname = 'dblink')
            """
        )
    )
    if not may or not is_there:
        return
    (is_set_up,) = fetch_one(connection.execute("SELECT has_loopback()"))
    if not is_set_up:
        said = "not set up: new texts need CALL embed_query('...'), or CALL configure_loopback()"
        yield Check("loop-back", True, said)
        return
    try:
        connection.execute("SELECT run_by_loopback('SELECT NULL::text')")
    except psycopg.Error as exc:
        yield Check("loop-back", False, explain(exc), "CALL configure_loopback()")
    else:
        yield Check("loop-back", True, "the server reaches itself, to ask for new texts")
