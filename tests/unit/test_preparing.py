"""Content whose vector the space has already is neither decoded nor embedded."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from pipeline.ingest.known_vectors import Found
from pipeline.ingest.preparing import Preparer
from pipeline.jobs import ClaimedJob
from pipeline.modalities import IMAGE, Decoded, Reader, ReadOptions
from pipeline.spaces.items import KnownContent
from tests.helpers.fakes import FakeEmbedder, vector_of
from tests.helpers.workers import content

KNOWN = content(b"an image that the space has")
NEW = content(b"another")


class Asked(Reader):
    """A reader that remembers what it decoded."""

    def __init__(self) -> None:
        super().__init__(IMAGE, FakeEmbedder().encoders[IMAGE.name], ReadOptions())
        self.decoded: list[bytes] = []

    def decode(self, data: bytes) -> Decoded:
        from PIL import Image

        self.decoded.append(data)
        return Decoded(Image.new("RGB", (8, 8)), {"width": 8})

    def kept_notes(self, notes: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return {"width": notes["width"]} if "width" in notes else None


def job(number: int, reference: str) -> ClaimedJob:
    return ClaimedJob(1, number, 1, 1, "image", reference, "{}")


def test_loaded_content_with_a_known_vector_is_not_decoded() -> None:
    def known(modality: str, hashes: Sequence[bytes]) -> Found:
        assert modality == "image"
        found = KnownContent(vector_of(b"known"), {"width": 8, "etag": "old"})
        return {h: found for h in hashes if h == KNOWN.sha256}

    reader = Asked()
    references = {"/known.png": KNOWN, "/new.png": NEW}
    preparer = Preparer(
        {"image": reader}, references.__getitem__, known, lambda stage: nullcontext()
    )
    jobs = [job(n, reference) for n, reference in enumerate(references, 1)]
    parts, failures = preparer.prepare("image", jobs)
    assert failures == []
    assert reader.decoded == [NEW.data]
    first, second = parts
    assert (first.part, first.parts, first.content_ref) == (0, 1, "/known.png")
    assert (first.content_sha256, first.input) == (KNOWN.sha256, None)
    assert first.notes == {**KNOWN.notes, "width": 8}
    np.testing.assert_array_equal(first.vector, vector_of(b"known"))
    assert second.vector is None
    assert second.input is not None


def test_content_whose_item_does_not_say_what_it_is_is_decoded_and_not_embedded() -> None:
    def known(modality: str, hashes: Sequence[bytes]) -> Found:
        return {h: KnownContent(vector_of(b"known"), {}) for h in hashes}

    reader = Asked()
    preparer = Preparer({"image": reader}, lambda _: KNOWN, known, lambda stage: nullcontext())
    (part,), failures = preparer.prepare("image", [job(1, "/known.png")])
    assert (failures, reader.decoded) == ([], [KNOWN.data])
    assert (part.notes, part.input) == ({**KNOWN.notes, "width": 8}, None)
    np.testing.assert_array_equal(part.vector, vector_of(b"known"))
