"""What Prometheus reads of ``pipeline ingest``, ``serve`` and ``web``.

Needs the extra ``metrics``; imported only where metrics are asked for. Labels are bounded: spaces,
modalities, stages, codes of errors and pages, of which there are a few each.
"""

from pipeline.errors import MissingExtra

try:
    import prometheus_client  # noqa: F401 (asked for here, since here it is said what lacks)
except ImportError as exc:
    raise MissingExtra("showing metrics", "metrics") from exc
