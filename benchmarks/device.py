"""The model on the device at hand, stage by stage: `python -m benchmarks.device` (made for a GPU).

For each architecture with random weights (speed does not depend on them), in the precision that
``auto`` takes: texts/s, and images/s of the forward pass alone (pixels on the device already),
from memory (uint8 rows through the encoder of images, normalising and the way back included) and
from JPEG files (decoder processes beside it); the forward pass as a share of the device's peak,
which is counted in multiplications and additions by torch's own counter; and which of the stages
binds.
``python -m benchmarks.end_to_end images`` adds the database.

The peak is that of the data sheet, dense, where the device is known, else give it with ``--peak``;
beside it stands what a plain matrix product reaches here.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.end_to_end import photographs
from benchmarks.harness import captions, say
from pipeline.embedders.local.device import DTYPES
from pipeline.embedders.openclip.embedder import MultimodalEmbedder
from pipeline.modalities import IMAGE, TEXT, ReadOptions
from pipeline.modalities.image.decoder import ImageDecoder
from pipeline.modalities.still import fitting

# Dense bfloat16 TFLOP/s of NVIDIA's data sheets.
PEAKS = {"H100": 989.0, "H200": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0, "A10": 125.0}


def seconds(run: Callable[[], object], device: torch.device, rounds: int) -> float:
    """The least of ``rounds`` times, once it is warm."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    run()
    run()
    times = []
    for _ in range(rounds):
        wait()
        began = time.perf_counter()
        run()
        wait()
        times.append(time.perf_counter() - began)
    return min(times)


def matmul_tflops(device: torch.device, dtype: torch.dtype) -> float:
    """What a square matrix product reaches."""
    side = 8192 if device.type == "cuda" else 1024
    a = torch.randn(side, side, device=device, dtype=dtype)
    return float(2 * side**3 / seconds(lambda: a @ a, device, 10) / 1e12)


def peak_of(device: torch.device) -> float | None:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return next((peak for part, peak in PEAKS.items() if part in name.split()), None)


def measure(architecture: str, files: int, rounds: int, peak: float | None) -> dict[str, Any]:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_file(
            open_clip.create_model(architecture).state_dict(),
            folder / "open_clip_model.safetensors",
        )
        document = {"model_cfg": open_clip.get_model_config(architecture), "preprocess_cfg": {}}
        (folder / "open_clip_config.json").write_text(json.dumps(document))
        embedder = MultimodalEmbedder(str(folder))
        device, batch = embedder.model.device, embedder.batch_size
        module, encoder = embedder.model.module, embedder.encoders[IMAGE.name]
        dtype = DTYPES[embedder.description.precision]
        height, width = embedder.description.image_size
        on_device = torch.randn(batch, 3, height, width, device=device, dtype=dtype)
        if device.type == "cuda":
            on_device = on_device.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            with FlopCounterMode(display=False) as counter:
                module.encode_image(on_device)
            forward = seconds(lambda: module.encode_image(on_device), device, rounds)
        random = np.random.default_rng(0)
        rows = list(random.integers(0, 256, (batch, 3, height, width), dtype=np.uint8))
        memory = seconds(lambda: encoder.embed(rows), device, rounds)
        decoding, together = from_files(embedder, photographs(folder, files))
        of_texts = texts_per_second(embedder, rounds)
    tflops = counter.get_total_flops() / forward / 1e12
    product = matmul_tflops(device, dtype)
    peak = peak or peak_of(device)
    per_second = {
        "forward": batch / forward,
        "from_memory": batch / memory,
        "decoding_alone": files / decoding,
        "from_files": files / together,
    }
    binding = min(("from_memory", "decoding_alone"), key=per_second.__getitem__)
    return {
        "architecture": architecture,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "precision": embedder.description.precision,
        "batch": batch,
        "images_per_second": {name: round(rate, 1) for name, rate in per_second.items()},
        "texts_per_second": of_texts,
        "gflop_per_image": round(counter.get_total_flops() / batch / 1e9, 1),
        "tflops": round(tflops, 2),
        "share_of_peak": round(tflops / peak, 3) if peak else None,
        "share_of_a_matrix_product": round(tflops / product, 3),
        "binding_stage": {"from_memory": "model", "decoding_alone": "decoding"}[binding],
        "of_the_binding_stage": round(per_second["from_files"] / per_second[binding], 3),
    }


def texts_per_second(embedder: MultimodalEmbedder, rounds: int) -> dict[str, float]:
    """Captions of 5 to 20 words: their tokens, in one thread, and the model from these on."""
    encoder, texts = embedder.encoders[TEXT.name], captions(8192)
    began = time.perf_counter()
    tokens = encoder.prepare(texts)
    tokenizing = time.perf_counter() - began
    model = seconds(lambda: encoder.embed(tokens), embedder.model.device, rounds)
    return {
        "tokenizing": round(len(texts) / tokenizing, 1),
        "from_tokens": round(len(texts) / model, 1),
    }


def from_files(embedder: MultimodalEmbedder, paths: list[Path]) -> tuple[float, float]:
    """Seconds of decoding the files alone, and of decoding and embedding them side by side."""
    encoder = embedder.encoders[IMAGE.name]
    with ImageDecoder(ReadOptions(), fitting(encoder)) as decoder, ThreadPoolExecutor(16) as pool:

        def prepare(path: Path) -> Any:
            return encoder.prepare([decoder.decode(path.read_bytes()).content])[0]

        list(pool.map(prepare, paths[:32]))
        began = time.perf_counter()
        list(pool.map(prepare, paths))
        decoded = time.perf_counter()
        waiting = []
        for pixels in pool.map(prepare, paths):
            waiting.append(pixels)
            if len(waiting) == embedder.batch_size:
                encoder.embed(waiting)
                waiting.clear()
        if waiting:
            encoder.embed(waiting)
        return decoded - began, time.perf_counter() - decoded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("architectures", nargs="*", default=["ViT-B-32", "ViT-B-16", "ViT-L-14"])
    parser.add_argument("--files", type=int, default=4000, help="JPEGs of 640x480")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--peak", type=float, help="TFLOP/s of the device in this precision")
    arguments = parser.parse_args()
    for architecture in arguments.architectures:
        say(architecture)
        row = measure(architecture, arguments.files, arguments.rounds, arguments.peak)
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
