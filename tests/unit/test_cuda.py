"""On a GPU: the CPU's vectors, whatever the precision and the batch, and trouble told as it is.

Left out where there is none. They ran on an NVIDIA H200 (docs/performance.md).
"""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.embedders.base import PRECISION_FLOOR
from pipeline.embedders.isolation import embed_isolating
from pipeline.embedders.openclip.embedder import MultimodalEmbedder, embedder_of_new_space
from pipeline.errors import ConfigurationError, ModelError, OutOfMemory
from pipeline.spaces import probes
from tests.helpers.checkpoints import (
    SIGLIP_PREPROCESS,
    TINY_CLIP,
    TINY_SIGLIP,
    save_checkpoint,
    save_unbearable,
)

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")

CAPTIONS = [f"a photo of a cat and {n} dogs on the green sofa"[: 20 + n % 27] for n in range(301)]
LEAST = {"float32": 0.99999, "bfloat16": PRECISION_FLOOR, "float16": PRECISION_FLOOR}


def pictures(count: int) -> list[Image.Image]:
    random = np.random.default_rng(5)
    noise = random.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return [Image.fromarray(pixels).resize((40, 32)) for pixels in noise]


@pytest.fixture(scope="module", params=["clip", "siglip"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "clip":
        return save_checkpoint(folder, TINY_CLIP)
    text = {**TINY_SIGLIP["text_cfg"], "context_length": 64}
    config = {**TINY_SIGLIP, "text_cfg": text}
    return save_checkpoint(folder, config, preprocess=SIGLIP_PREPROCESS)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("one"), TINY_CLIP)


@pytest.fixture
def full() -> Iterator[None]:
    """What the process has of the GPU, and 4 MB, is all that it gets."""
    torch.empty(1, device="cuda")
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 4 * 2**20) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


@pytest.mark.parametrize("precision", list(LEAST))
def test_vectors_are_those_of_the_cpu(folder: Path, precision: str) -> None:
    on_cpu = MultimodalEmbedder(str(folder), device="cpu", precision="float32")
    on_gpu = MultimodalEmbedder(str(folder), device="cuda", precision=precision)
    for exact, ours in (
        (on_cpu.embed_text(CAPTIONS), on_gpu.embed_text(CAPTIONS)),
        (on_cpu.embed_images(pictures(300)), on_gpu.embed_images(pictures(300))),
    ):
        assert (exact * ours).sum(axis=1).min() >= LEAST[precision]


def test_auto_takes_half_of_the_bits_where_the_model_bears_it(
    clip_folder: Path, tmp_path: Path
) -> None:
    assert MultimodalEmbedder(str(clip_folder)).description.precision == "bfloat16"
    unbearable = str(save_unbearable(tmp_path))
    assert MultimodalEmbedder(unbearable).description.precision == "float32"
    with pytest.raises(ModelError, match="does not bear bfloat16"):
        embedder_of_new_space(unbearable, device="cuda", precision="bfloat16")


@pytest.mark.parametrize("precision", list(LEAST))
def test_a_batch_of_one_gives_the_vector_of_a_large_one(folder: Path, precision: str) -> None:
    embedder = MultimodalEmbedder(str(folder), device="cuda", precision=precision)
    texts, images = embedder.embed_text(CAPTIONS), embedder.embed_images(pictures(257))
    for number in (0, 1, 100, 256):
        (text,) = embedder.embed_text([CAPTIONS[number]])
        (image,) = embedder.embed_images([pictures(257)[number]])
        assert text @ texts[number] >= LEAST[precision]
        assert image @ images[number] >= LEAST[precision]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("made_on", "read_on"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_a_space_made_on_one_device_is_one_of_the_other_too(
    folder: Path, precision: str, made_on: str, read_on: str
) -> None:
    made, read = (
        MultimodalEmbedder(str(folder), device=device, precision=precision)
        for device in (made_on, read_on)
    )
    known = probes.StoredProbes(
        [(probe, v.tolist()) for probe, v in probes.embed_new(("text", "image"), made)],
        probes.libraries(),
    )
    space: Any = SimpleNamespace(name="one", precision=precision, description={})
    probes.check(space, read, known)
    assert made.description.fingerprint() == read.description.fingerprint()


def test_many_threads_get_their_own_vectors(clip_folder: Path) -> None:
    embedder = MultimodalEmbedder(str(clip_folder), device="cuda", precision="float32")
    images = pictures(64)
    alone = embedder.embed_images(images)
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda n: embedder.embed_images(images[n : n + 8]), range(0, 64, 8)))
    assert np.concatenate(parts) == pytest.approx(alone, abs=1e-5)


def test_what_does_not_fit_goes_in_smaller_batches(clip_folder: Path, full: None) -> None:
    torch.cuda.set_per_process_memory_fraction(1.0)
    embedder = MultimodalEmbedder(
        str(clip_folder), device="cuda", precision="float32", batch_size=8192
    )
    expected = embedder.embed_images(pictures(64))
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 64 * 2**20) / total)
    encoder = embedder.encoders["image"]
    inputs = encoder.prepare(pictures(8192))
    with pytest.raises(OutOfMemory, match=r"8192 inputs do not fit .* PIPELINE_BATCH_SIZE"):
        encoder.embed(inputs)
    assert embedder.batch_size == 4096
    rows = embed_isolating(encoder.embed, inputs)
    assert np.stack(rows[:64]) == pytest.approx(expected, abs=1e-5)
    assert embedder.batch_size < 4096


def test_a_model_that_does_not_fit_is_said_to(clip_folder: Path, full: None) -> None:
    with pytest.raises(ModelError, match=r"memory of cuda.*PIPELINE_DEVICE=cpu"):
        MultimodalEmbedder(str(clip_folder), device="cuda", precision="float32")


def test_a_gpu_that_is_not_there_is_no_device() -> None:
    with pytest.raises(ConfigurationError, match="set auto, cpu, cuda"):
        MultimodalEmbedder("ViT-B-32:any", device="cuda:99")
    with pytest.raises(ConfigurationError, match="int8 is for CPUs"):
        MultimodalEmbedder("ViT-B-32:any", device="cuda", precision="int8")


BROKEN = """
import sys
import numpy as np
from pipeline.embedders.openclip.embedder import MultimodalEmbedder
from pipeline.errors import ModelError
embedder = MultimodalEmbedder(sys.argv[1], device="cuda", precision="float32")
for tokens in (np.full((1, 77), 10**6, dtype=np.int32), np.ones((1, 77), dtype=np.int32)):
    try:
        embedder.encoders["text"].embed(list(tokens))
    except ModelError as exc:
        print(str(exc).replace("\\n", " "))
"""


def test_a_broken_gpu_ends_the_work(clip_folder: Path) -> None:
    """After an assertion on the device nothing works any more, in this process."""
    command = [sys.executable, "-c", BROKEN, str(clip_folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stdout
    assert all("the device cuda failed" in line and line.endswith("restart") for line in lines)
