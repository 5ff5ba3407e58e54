"""Train, export and evaluate the small OpenCLIP model that the demonstration ships.

One command does everything, from ``npm pack`` to ``pipeline/demo/model`` and
``pipeline/demo/samples``::

    python tools/train_demo_model.py train --work /tmp/demo-model

It needs the project's dependencies, ``npm`` and ``pip install resvg-py``. See
``docs/demo-model.md`` for what comes out, and how good it is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import open_clip
import torch
import typer
from demo_captions import CaptionWriter
from demo_plot import plot
from demo_training import Recipe, learn, recalls
from demo_world import SOURCES, World, held_out_drawings, load_world, pick_samples
from PIL import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pipeline.embedders.openclip.blocks import use_self_attention
from pipeline.embedders.openclip.int8 import use_int8

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "pipeline" / "demo"
SAMPLE_SIZE = 96

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)


def write_samples(world: World, target: Path) -> None:
    """The shipped pictures, on white, and ``manifest.jsonl``."""
    images = target / "images"
    images.mkdir(parents=True, exist_ok=True)
    for old in images.glob("*.webp"):
        old.unlink()
    licenses = {source.style: source.license for source in SOURCES}
    writer = CaptionWriter(world.concepts)
    lines = []
    for number, drawing in enumerate(pick_samples(world)):
        concept, style = world.concepts[number], world.styles[drawing]
        picture = Image.new("RGB", (SAMPLE_SIZE, SAMPLE_SIZE), "white")
        rgba = Image.fromarray(world.pixels[drawing])
        picture.paste(rgba, (0, 0), rgba)
        picture.save(images / f"{concept.key}.webp", quality=88, method=6)
        line = {
            "key": concept.key,
            "image": f"images/{concept.key}.webp",
            "name": concept.name,
            "caption": writer.describe(number),
            "tags": list(concept.tags),
            "group": concept.group,
            "subgroup": concept.subgroup,
            "style": style,
            "license": licenses[style],
        }
        lines.append(json.dumps(line, ensure_ascii=False))
    (target / "manifest.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


Work = Annotated[Path, typer.Option(help="Folder for downloads and renderings; kept between runs.")]
ModelDir = Annotated[Path, typer.Option(help="Folder of the weights.")]
SampleDir = Annotated[Path, typer.Option(help="Folder of the sample pictures and the manifest.")]


@app.command()
def samples(work: Work, target: SampleDir = DEMO / "samples") -> None:
    """Write the sample pictures and their manifest, without training."""
    write_samples(load_world(work), target)


@app.command()
def train(
    work: Work,
    model: ModelDir = DEMO / "model",
    target: SampleDir = DEMO / "samples",
    steps: Annotated[int, typer.Option(help="Optimizer steps at most.")] = 6000,
    minutes: Annotated[float, typer.Option(help="Minutes of training at most.")] = 110.0,
    batch: Annotated[int, typer.Option(help="Pictures and captions a step.")] = 256,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 3e-3,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 7,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
) -> None:
    """Fetch, render, train, export the weights, write the samples, and evaluate."""
    torch.set_num_threads(threads)
    world = load_world(work)
    write_samples(world, target)
    recipe = Recipe(steps, minutes, batch, learning_rate, seed, device)
    learn(world, recipe, work / "log.jsonl", model)
    plot(work / "log.jsonl", ROOT / "docs" / "demo-model-training.svg")
    evaluate(work, model, target)


@app.command()
def tune(
    work: Work,
    start: Annotated[Path, typer.Option(help="Folder of the weights to start from.")],
    model: ModelDir = DEMO / "model",
    pixels: Annotated[int, typer.Option(help="Picture size.")] = 48,
    steps: Annotated[int, typer.Option(help="Optimizer steps at most.")] = 6000,
    minutes: Annotated[float, typer.Option(help="Minutes at most.")] = 4.0,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    memory: Annotated[float, typer.Option(help="Decay of the average of the weights.")] = 0.98,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 8,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Train exported weights further, at one picture size."""
    torch.set_num_threads(threads)
    recipe = Recipe(steps, minutes, 256, learning_rate, seed, device, pixels, memory)
    learn(load_world(work), recipe, work / "log.jsonl", model, start)
    plot(work / "log.jsonl", ROOT / "docs" / "demo-model-training.svg")


def shipped(model: Path, dtype: torch.dtype = torch.float32) -> tuple[Any, Any, Any]:
    """Model, preprocessing and tokenizer, loaded as any other local checkpoint."""
    name = f"local-dir:{model}"
    clip, preprocess = open_clip.create_model_from_pretrained(name)
    return clip.eval().to(dtype), preprocess, open_clip.get_tokenizer(name)


@torch.no_grad()
def embed(clip: Any, inputs: Tensor, kind: str) -> Tensor:
    dtype = clip.logit_scale.dtype
    encode = clip.encode_image if kind == "image" else clip.encode_text
    parts = [
        encode(part.to(dtype) if kind == "image" else part, normalize=True)
        for part in inputs.split(256)
    ]
    return F.normalize(torch.cat(parts).float(), dim=-1)


@app.command()
def evaluate(
    work: Work, model: ModelDir = DEMO / "model", target: SampleDir = DEMO / "samples"
) -> None:
    """Measure the shipped files: retrieval both ways, precision, and the modality gap."""
    world = load_world(work)
    clip, preprocess, tokenizer = shipped(model)
    manifest = [json.loads(line) for line in (target / "manifest.jsonl").open(encoding="utf-8")]
    names = embed(clip, tokenizer([row["name"] for row in manifest]), "text")
    phrased = embed(clip, tokenizer([f"a picture of {row['name']}" for row in manifest]), "text")
    captions = embed(clip, tokenizer([row["caption"] for row in manifest]), "text")
    pictures = torch.stack([preprocess(Image.open(target / row["image"])) for row in manifest])
    sample = embed(clip, pictures, "image")
    strangers = []
    for drawing in held_out_drawings(world):
        rgba = Image.fromarray(world.pixels[drawing])
        white = Image.new("RGB", rgba.size, "white")
        white.paste(rgba, (0, 0), rgba)
        strangers.append(preprocess(white))
    held_out = embed(clip, torch.stack(strangers), "image")
    report: dict[str, Any] = {"concepts": len(manifest)}
    for label, images in (("samples", sample), ("held-out style", held_out)):
        for said, queries in (
            ("name", names),
            ("a picture of name", phrased),
            ("caption", captions),
        ):
            report[f"{label}, {said} to image"] = recalls(queries, images)
            report[f"{label}, image to {said}"] = recalls(images, queries)
    lower = {"bfloat16": torch.bfloat16, "float16": torch.float16, "int8": torch.float32}
    for label, dtype in lower.items():
        other, _, _ = shipped(model, dtype)
        if label == "int8":
            use_self_attention(other)
            use_int8(other)
        for kind, inputs, exact in (
            ("image", pictures, sample),
            ("text", tokenizer([row["name"] for row in manifest]), names),
        ):
            cosines = (embed(other, inputs, kind) * exact).sum(dim=1)
            report[f"{label} {kind} cosine to float32"] = {
                "min": round(cosines.min().item(), 5),
                "mean": round(cosines.mean().item(), 5),
            }
    means = {"image": sample.mean(dim=0), "text": names.mean(dim=0)}
    off = ~torch.eye(len(manifest), dtype=torch.bool)
    report["modality gap"] = {
        "matching text-image cosine": round((names * sample).sum(dim=1).mean().item(), 4),
        "other text-image cosine": round((names @ sample.T)[off].mean().item(), 4),
        "text-text cosine": round((names @ names.T)[off].mean().item(), 4),
        "image-image cosine": round((sample @ sample.T)[off].mean().item(), 4),
        "distance of the means": round((means["image"] - means["text"]).norm().item(), 4),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    app()
