"""What a request's URL asks for."""

from starlette.requests import Request

from pipeline.web.asked import Asked, read


def read_url(request: Request) -> Asked:
    """The search that its query is of. Raises PageError."""
    values: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        values.setdefault(name, []).append(value)
    return read(values)
