"""Content whose vector the space has already is neither decoded nor embedded."""

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np

from pipeline.ingest.known_vectors import Found
from pipeline.ingest.preparing import Preparer
from pipeline.jobs import ClaimedJob
from pipeline.modalities import IMAGE, Decoded, Reader, ReadOptions
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
        return Decoded(Image.new("RGB", (8, 8)))


def job(number: int, reference: str) -> ClaimedJob:
    return ClaimedJob(1, number, 1, 1, "image", reference, "{}")


def test_loaded_content_with_a_known_vector_is_not_decoded() -> None:
    def known(modality: str, hashes: Sequence[bytes]) -> Found:
        assert modality == "image"
        return {h: vector_of(b"known") for h in hashes if h == KNOWN.sha256}

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
    np.testing.assert_array_equal(first.vector, vector_of(b"known"))
    assert second.vector is None
    assert second.input is not None
