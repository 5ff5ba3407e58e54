"""Templates to HTML: every value is escaped, and nothing of a row becomes an address or a style."""

import json
from typing import Any

from pipeline.errors import MissingExtra

try:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from starlette.requests import Request
    from starlette.responses import HTMLResponse
except ImportError as exc:
    raise MissingExtra("pipeline web", "web") from exc

_LONGEST = 600  # characters of a text on a card


def _shortened(text: str, most: int = _LONGEST) -> str:
    return text if len(text) <= most else f"{text[:most].rstrip()}…"


def _value(value: Any) -> str:
    """A value of metadata as people read it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


_TEMPLATES = Environment(
    loader=PackageLoader("pipeline.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {"shortened": _shortened, "value": _value}


def page(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A page of a template, in which ``root`` is where the pages are mounted."""
    html = _TEMPLATES.get_template(template).render(
        root=request.scope.get("root_path", ""), request=request, **values
    )
    # Lone surrogates, as JSON has them, are no UTF-8.
    body = html.encode("utf-8", "replace")
    return HTMLResponse(body, status, {"Vary": "HX-Request"})
