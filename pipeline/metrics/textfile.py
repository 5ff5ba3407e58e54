"""A file for node_exporter's textfile collector, which a run that ends leaves behind.

Counters go on from what the file of the run before says, so that ``rate()`` and ``increase()`` read
scheduled runs as they read a process that goes on.
"""

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

logger = logging.getLogger(__name__)

_COUNTED = ("counter", "histogram")
_Key = tuple[str, tuple[tuple[str, str], ...]]


def read(file: Path) -> dict[str, Metric]:
    """What a file says, by the name of the family; nothing where there is none that can be read."""
    try:
        text = file.read_text(encoding="utf-8")
        return {family.name: family for family in text_string_to_metric_families(text)}
    except FileNotFoundError:
        return {}
    except ValueError as exc:
        logger.warning("%s holds no metrics, and is written anew: %s", file.name, exc)
        return {}


def write(registry: CollectorRegistry, file: Path) -> None:
    """At once, as whoever reads it sees it: what is counted is added to what the file says.

    Raises:
        OSError: the folder is not there, or nothing may be written into it.
    """
    added = CollectorRegistry()
    added.register(_Added(list(_plain(registry.collect())), read(file)))
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".tmp", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(generate_latest(added))
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o644)  # node_exporter is somebody else
        Path(name).replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def _plain(families: Iterable[Metric]) -> Iterator[Metric]:
    """Without when each series began, which is when the process did."""
    for family in families:
        family.samples = [s for s in family.samples if not s.name.endswith("_created")]
        yield family


class _Added(Collector):
    """Families, each with the older series that are counted on."""

    def __init__(self, families: Iterable[Metric], before: dict[str, Metric]) -> None:
        self._families = families
        self._before = before

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        before = {name: old for name, old in self._before.items() if old.type in _COUNTED}
        for family in self._families:
            if (old := before.pop(family.name, None)) is not None:
                family.samples = _sum(family.samples, old.samples)
            yield family
        yield from before.values()


def _sum(samples: Iterable[Sample], before: Iterable[Sample]) -> list[Sample]:
    """Series of either; what both have is added up."""
    found: dict[_Key, Sample] = {}
    for sample in (*before, *samples):
        key = (sample.name, tuple(sorted(sample.labels.items())))
        value = sample.value + (found[key].value if key in found else 0.0)
        found[key] = Sample(sample.name, sample.labels, value)
    return list(found.values())
