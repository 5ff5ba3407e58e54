"""Metrics as Prometheus reads them."""

from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families


class Series:
    """What a text says: ``series("pipeline_jobs", state="failed")``, None where it says nothing."""

    def __init__(self, text: str) -> None:
        self.samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    @classmethod
    def of(cls, registry: CollectorRegistry) -> "Series":
        return cls(generate_latest(registry).decode())

    def __call__(self, name: str, **labels: Any) -> float | None:
        """The sum of all series of that name that have these labels."""
        found = [
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(found) if found else None
