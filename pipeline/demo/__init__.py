"""The demonstration: a small world of about a thousand pictures with captions, and the small
model that knows it. It shows the mechanism, not the quality of a full-size model."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigurationError
from pipeline.sources.source_items import NewSource

SOURCE = "demo"
MODEL = "demo"
SAMPLES = Path(__file__).resolve().parent / "samples"


@dataclass(frozen=True)
class Sample:
    """A picture with its name and caption."""

    key: str
    image: Path
    name: str
    caption: str
    metadata: dict[str, Any]


def samples() -> list[Sample]:
    """Every sample, in the manifest's order."""
    manifest = SAMPLES / "manifest.jsonl"
    if not manifest.is_file():
        raise ConfigurationError("this installation lacks the sample data; reinstall the package")
    found = []
    for line in manifest.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        found.append(
            Sample(
                key=record["key"],
                image=SAMPLES / record["image"],
                name=record["name"],
                caption=record["caption"],
                metadata={
                    "pair": record["key"],
                    "name": record["name"],
                    "group": record["group"],
                    "style": record["style"],
                },
            )
        )
    return found


def source_rows() -> Iterator[NewSource]:
    """Two rows per sample, its picture and its caption; ``metadata.pair`` joins them."""
    for sample in samples():
        yield NewSource(SOURCE, f"{sample.key}#image", "image", str(sample.image), sample.metadata)
        yield NewSource(SOURCE, f"{sample.key}#text", "text", sample.caption, sample.metadata)
