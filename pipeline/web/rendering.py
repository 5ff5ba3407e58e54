"""Templates to HTML: every value is escaped, and nothing of a row becomes an address or a style."""

import json
from datetime import UTC, datetime, timedelta
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


def _moment(when: datetime | None) -> str:
    return "" if when is None else f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _clock(when: datetime) -> str:
    return f"{when.astimezone(UTC):%H:%M:%S} UTC"


def _duration(time: timedelta | float | None) -> str:
    """In the unit that people would take."""
    if time is None:
        return ""
    seconds = time.total_seconds() if isinstance(time, timedelta) else time
    for unit, length in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _size(count: int | None) -> str:
    """Bytes."""
    return "" if count is None else f"{count / 2**20:,.1f} MiB"


_TEMPLATES = Environment(
    loader=PackageLoader("pipeline.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {
    "shortened": _shortened,
    "value": _value,
    "moment": _moment,
    "clock": _clock,
    "duration": _duration,
    "size": _size,
}


def page(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A page of a template, in which ``root`` is where the pages are mounted."""
    root = request.scope.get("root_path", "")
    html = _TEMPLATES.get_template(template).render(
        root=root, here=request.url.path.removeprefix(root), **values
    )
    # Lone surrogates, as JSON has them, are no UTF-8.
    body = html.encode("utf-8", "replace")
    return HTMLResponse(body, status, {"Vary": "HX-Request"})
