"""What Prometheus reads of ``pipeline ingest``, ``serve`` and ``web``.

Imported only where metrics are asked for. ``ingest``, ``serve`` and ``server`` say which extra they
lack. Labels are bounded: spaces, modalities, stages, codes of errors and pages, a few of each.
"""
