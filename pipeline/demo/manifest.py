"""What the demonstration shows: the samples as the manifest lists them, as source rows."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigurationError
from pipeline.modalities import IMAGE, TEXT
from pipeline.sources.source_items import NewSource

SOURCE = "demo"
MODEL = "demo"
SAMPLES = Path(__file__).resolve().parent / "samples"


@dataclass(frozen=True)
class Sample:
    """An image with its name and caption."""

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
    """Two rows per sample, its image and its caption; ``metadata.pair`` joins them."""
    for sample in samples():
        for modality, content in ((IMAGE, str(sample.image)), (TEXT, sample.caption)):
            key = f"{sample.key}#{modality.name}"
            yield NewSource(SOURCE, key, modality.name, content, sample.metadata)
