"""The pages as an ASGI application. Needs Starlette and Jinja2."""

from pathlib import Path

import psycopg

from pipeline.errors import MissingExtra, PipelineError

try:
    import prometheus_client  # noqa: F401 (asked for here, since here it is said what lacks)
    import uvicorn  # noqa: F401
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.routing import BaseRoute, Mount
    from starlette.staticfiles import StaticFiles
    from starlette.types import ASGIApp
except ImportError as exc:
    raise MissingExtra("pipeline web", "web") from exc

from pipeline.metrics.exposition import metrics_route
from pipeline.web.api import routes as api
from pipeline.web.faults import PageError
from pipeline.web.guard import Guard, Tokens
from pipeline.web.metrics import Metrics
from pipeline.web.pages import (
    comparison,
    duplicates,
    errors,
    files,
    health,
    images,
    item,
    jobs,
    login,
    outliers,
    review,
    search,
    spaces,
)
from pipeline.web.pages import (
    map as map_page,
)
from pipeline.web.parts import Parts

_STATIC = Path(__file__).parent / "static"


def application(parts: Parts) -> ASGIApp:
    """All pages.

    Args:
        parts: what they are made with.
    """
    tokens = Tokens(parts.options.token)
    metrics = Metrics(parts.reading)
    routes: list[BaseRoute] = [
        *search.routes(parts),
        *files.routes(parts),
        *images.routes(parts),
        *item.routes(parts),
        *jobs.routes(parts, tokens),
        *duplicates.routes(parts),
        *outliers.routes(parts),
        *review.routes(parts, tokens),
        *spaces.routes(parts),
        *comparison.routes(parts),
        *map_page.routes(parts),
        *api.routes(parts),
        *health.routes(parts),
        metrics_route(metrics.registry),
        *login.routes(tokens),
        Mount("/static", StaticFiles(directory=_STATIC)),
    ]
    handled = (PageError, PipelineError, psycopg.Error, HTTPException, Exception)
    pages = Starlette(routes=routes, exception_handlers=dict.fromkeys(handled, errors.answer))
    return metrics.counting(Guard(pages, parts.options.hosts, tokens, errors.answer))
