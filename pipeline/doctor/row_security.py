"""Whether a policy of the application's hides rows from those who embed them."""

from collections.abc import Iterator

from psycopg import sql

from pipeline.doctor.check import Check
from pipeline.postgres.connections import Connection
from pipeline.postgres.row_security import hidden_rows


def row_security(connection: Connection) -> Iterator[Check]:
    hidden = hidden_rows(connection)
    if not hidden:
        yield Check("row security", True, "who embeds sees every row")
        return
    said = "; ".join(
        f"a policy hides rows of {table} from {', '.join(roles)}" for table, roles in hidden.items()
    )
    fix = "; ".join(
        sql.SQL("CREATE POLICY everything ON {} TO {} USING (true)")
        .format(sql.Identifier(table), sql.SQL(", ").join(map(sql.SQL, roles)))
        .as_string(connection)
        for table, roles in hidden.items()
    )
    yield Check("row security", False, f"{said}: what is hidden is not embedded", fix)
