"""Why an attached source does not follow, noted for its status and for `pipeline doctor`."""

from pipeline.postgres.connections import Connection


def note_problem(connection: Connection, attachment: int, problem: str) -> None:
    """Note why it needs a sync; the same again is noted once, with its last time."""
    given = {"id": attachment, "problem": problem}
    noted = connection.execute(
        "UPDATE attached_source_problems SET noted_at = now() "
        "WHERE attachment_id = %(id)s AND problem = %(problem)s",
        given,
    )
    if not noted.rowcount:
        connection.execute(
            "INSERT INTO attached_source_problems (attachment_id, problem) "
            "VALUES (%(id)s, %(problem)s)",
            given,
        )
