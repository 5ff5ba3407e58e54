"""What the database says while files are run, told to whoever installs them."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from psycopg.errors import Diagnostic

from pipeline.postgres.connections import Connection
from pipeline.postgres.sql_files import Schemas

logger = logging.getLogger(__name__)

_NOT_GRANTED = "01007"


@contextmanager
def warnings_told(connection: Connection, schemas: Schemas, roles: Sequence[str]) -> Iterator[None]:
    """What a file could not do is a WARNING, its hint what an administrator runs instead.

    Told at the end: an attempt that gives way to others is made again, and its warnings with it.
    """
    warnings: list[str] = []

    def note(warning: Diagnostic) -> None:
        if warning.severity_nonlocalized == "WARNING":
            hint = warning.message_hint
            if warning.sqlstate == _NOT_GRANTED and hint is None:  # of a schema of somebody else's
                hint = f"GRANT USAGE ON SCHEMA {schemas.schema} TO {', '.join(roles)}"
            cure = f"; an administrator runs: {hint}" if hint else ""
            warnings.append(f"{warning.message_primary}{cure}")

    connection.add_notice_handler(note)
    try:
        yield
    finally:
        connection.remove_notice_handler(note)
    for warning in warnings:
        logger.warning("%s", warning)
