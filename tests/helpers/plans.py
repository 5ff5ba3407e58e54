"""The plans of statements that run inside of a function."""

from pipeline.postgres.connections import Connection


def plan_of(connection: Connection, statement: str) -> str:
    """Of a statement, and of all that it runs inside of functions, as auto_explain has them."""
    notices: list[str] = []
    connection.add_notice_handler(lambda d: notices.append(d.message_primary or ""))
    with connection.transaction():
        connection.execute("LOAD 'auto_explain'")
        for setting in (
            "auto_explain.log_min_duration = 0",
            "auto_explain.log_nested_statements = on",
            "client_min_messages = log",
        ):
            connection.execute(f"SET LOCAL {setting}".encode())
        connection.execute(statement.encode())
    return "\n".join(notices)
