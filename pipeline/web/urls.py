"""What a request's URL asks for."""

from starlette.requests import Request

from pipeline.web.asked import Asked
from pipeline.web.faults import PageError
from pipeline.web.typed import read


def read_url(request: Request) -> Asked:
    """The search that its query is of. Raises PageError."""
    return read(values_of(request))


def values_of(request: Request) -> dict[str, list[str]]:
    """The URL's query, by name. Raises PageError."""
    values: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        if "\x00" in value:
            raise PageError(400, "There is a NUL in the URL; leave it out.")
        values.setdefault(name, []).append(value)
    return values
