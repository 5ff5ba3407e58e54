"""How a run ended, and when one last ended well."""

import time
from collections.abc import Iterable
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pipeline.metrics.textfile import read

_RUN = "pipeline_ingest_last_run_timestamp_seconds"
_SUCCESS = "pipeline_ingest_last_success_timestamp_seconds"


class RunEnd(Collector):
    """Of one run.

    Args:
        space: the space's name; empty: it is not known, as the run did not come so far.
        code: with which the run exits.
        seconds: that it took.
        file: says when a run before ended well.
    """

    def __init__(self, space: str, code: int, seconds: float, file: Path) -> None:
        self._space = space
        self._code = code
        self._seconds = seconds
        self._before = _values(file, _SUCCESS)

    def collect(self) -> Iterable[Metric]:
        now = time.time()
        success = self._before | ({self._space: now} if self._code == 0 else {})
        for name, what, values in (
            (_RUN, "When a run last ended.", now),
            ("pipeline_ingest_last_run_seconds", "How long that run took.", self._seconds),
            ("pipeline_ingest_last_run_exit_code", "What that run exited with.", self._code),
        ):
            yield _gauge(name, what, {self._space: values})
        yield _gauge(_SUCCESS, "When a run last exited with 0.", success)


def space_of(file: Path) -> str:
    """The space of the run that wrote a file last; empty where that is not known."""
    return next(iter(_values(file, _RUN)), "")


def _values(file: Path, name: str) -> dict[str, float]:
    """What a gauge of a file says, by space."""
    family = read(file).get(name)
    samples = family.samples if family else ()
    return {sample.labels.get("space", ""): sample.value for sample in samples}


def _gauge(name: str, what: str, values: dict[str, float]) -> Metric:
    family = GaugeMetricFamily(name, what, labels=("space",))
    for space, value in values.items():
        family.add_metric((space,), value)
    return family
