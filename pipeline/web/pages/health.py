"""Whether the pages answer, and whether they can answer a query."""

from starlette.routing import Route

from pipeline.metrics.exposition import health_routes
from pipeline.postgres.connections import Connection
from pipeline.web.faults import as_page_error
from pipeline.web.parts import Parts

_SECONDS = 5.0


def routes(parts: Parts) -> list[Route]:
    """``/healthz`` and ``/readyz``."""

    def is_served(connection: Connection) -> str | None:
        row = connection.execute(
            "SELECT is_served(id) FROM embedding_spaces WHERE state = 'active'"
        ).fetchone()
        if row is None:
            return "no embedding space is active"
        return None if row[0] or parts.finder.loads else "nobody serves"

    def reason() -> str | None:
        try:
            found = parts.reading.read(is_served, seconds=_SECONDS)
        except Exception as exc:
            return as_page_error(exc).message
        return found if found or parts.is_settled() else "the model is being loaded"

    return health_routes(reason)
