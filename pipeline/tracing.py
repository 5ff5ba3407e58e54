"""Spans for OpenTelemetry, where somebody set a provider of them; else nothing, and nothing is
imported.

No text, key or reference is in an attribute, nor what an error says: only its kind or code.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.errors import RowError
from pipeline.version import __version__

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

PREFIX = "pipeline."


def find_tracer() -> "Tracer | None":
    """What makes spans; None: this process has no provider. Whoever sets one has imported it."""
    if "opentelemetry.trace" not in sys.modules:
        return None
    from opentelemetry import trace

    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return None
    return trace.get_tracer("pipeline", __version__)


@contextmanager
def span(name: str, **attributes: str | int) -> Iterator[None]:
    """Within the span that the caller is in, if any, the span ``pipeline.NAME``."""
    tracer = find_tracer()
    if tracer is None:
        yield
        return
    with tracer.start_as_current_span(
        PREFIX + name,
        attributes={PREFIX + key: value for key, value in attributes.items()},
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield
        except Exception as exc:
            mark_failed(current, exc.code if isinstance(exc, RowError) else type(exc).__name__)
            raise


def mark_failed(span: "Span", kind: str) -> None:
    """The span ends with an error of that kind or code."""
    from opentelemetry.trace import StatusCode

    span.set_status(StatusCode.ERROR)
    span.set_attribute("error.type", kind)
