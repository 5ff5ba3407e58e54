"""The training loop of the demonstration model."""

from __future__ import annotations

import copy
import json
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from demo_captions import MIRROR_SENSITIVE, CaptionWriter, colour_words
from demo_model import CONFIG, Learner, Texts, blend, export, loss_of, resume
from demo_pictures import augment, plain, premultiplied
from demo_scene_questions import Questions
from demo_scenes import SceneWriter, is_thing, kept_colours, may_flip, meant
from demo_world import HELD_OUT, World, held_out_drawings, pick_samples
from rich.progress import Progress
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

LOOKALIKES = {"fluent": 0.5, "fluent-flat": 0.5, "fluent-3d": 0.5}
"""Three renderings of one drawing count together about as much as one other style."""

CHECKS = 24

PHASES = ((0.0, 32), (0.5, 48))
"""From which share of the training on, at which picture size: small pictures are cheap, and a
convolutional tower carries what it learned over to larger ones."""


def recalls(
    queries: Tensor, candidates: Tensor, ranks: tuple[int, ...] = (1, 5, 10)
) -> dict[str, float]:
    """R@k where query i belongs to candidate i."""
    scores = queries @ candidates.T
    better = (scores > scores.diagonal().unsqueeze(1)).sum(dim=1)
    return {f"R@{k}": round((better < k).float().mean().item(), 4) for k in ranks}


@torch.no_grad()
def quick_check(
    learner: Learner, names: Tensor, pictures: dict[str, Tensor], size: int
) -> dict[str, float]:
    """Text-to-image retrieval by name; nothing is chosen by it, it only goes to the log."""
    learner.eval()
    figures = {}
    device = names.device
    with torch.autocast(names.device.type, dtype=torch.bfloat16):
        queries = learner.texts(names).float()
        for label, pixels in pictures.items():
            views = (plain(part.to(device), size) for part in pixels.split(512))
            found = torch.cat([learner.images(view).float() for view in views])
            for key, value in recalls(queries, found, (1, 10)).items():
                figures[f"{label} {key}"] = value
    return figures


@dataclass(frozen=True)
class Recipe:
    steps: int
    minutes: float
    batch: int
    learning_rate: float
    seed: int
    device: str
    pixels: int = 0
    memory: float = 0.998
    scenes: tuple[int, int, int] = (14, 14, 8)  # painted things, groups of pairs, others


@dataclass(frozen=True)
class Batch:
    """Drawings, then scenes; captions of every other drawing, then of each scene."""

    pixels: Tensor  # premultiplied bytes, (pictures, 4, 64, 64)
    rows: Tensor  # compact token ids, (captions, longest)
    shown: Tensor  # (pictures, concepts), rows sum to one
    meanings: Tensor  # (captions, concepts), rows sum to one
    pairs: Tensor  # (captions, pictures): how likely a caption means a picture
    open: Tensor  # (captions, pictures): neither meant nor another
    may_flip: Tensor  # (pictures,)
    keep_hue: Tensor  # (pictures,)

    def to(self, device: str) -> Batch:
        return Batch(**{name: value.to(device) for name, value in vars(self).items()})


class Batches:
    """Draws batches of distinct concepts, one drawing each, and a caption for every other one.

    Half as many captions as drawings: names are learnt sooner than looks. To them come scenes.
    """

    def __init__(self, world: World, texts: Texts, writer: CaptionWriter, recipe: Recipe) -> None:
        self.world, self.texts, self.writer, self.recipe = world, texts, writer, recipe
        self.rng = random.Random(recipe.seed)
        self.drawings: list[list[int]] = [[] for _ in world.concepts]
        for drawing, (owner, style) in enumerate(zip(world.owners, world.styles, strict=True)):
            if style not in HELD_OUT:
                self.drawings[owner].append(drawing)
        self.weights = [
            [LOOKALIKES.get(world.styles[d], 1.0) for d in own] for own in self.drawings
        ]
        self.colours = [colour_words(rgba) for rgba in world.pixels]
        self.may_flip = torch.tensor(
            [not MIRROR_SENSITIVE.search(f"{c.name} {c.subgroup}") for c in world.concepts]
        )
        self.keep_hue = torch.tensor(
            [
                bool(
                    set(c.name.lower().split())
                    & {
                        "red",
                        "orange",
                        "yellow",
                        "green",
                        "blue",
                        "purple",
                        "pink",
                        "brown",
                        "black",
                        "white",
                        "grey",
                        "rainbow",
                        "tangerine",
                        "lemon",
                        "lime",
                    }
                )
                for c in world.concepts
            ]
        )
        # Kept at 64 pixels: larger than any phase, and cheaper to read than the cache.
        premultiplied_parts = (
            F.interpolate(premultiplied(part), (64, 64), mode="bicubic", antialias=True)
            for part in torch.from_numpy(world.pixels).split(256)
        )
        self.pixels = torch.cat(
            [(part.clamp(0, 1) * 255).round().byte() for part in premultiplied_parts]
        )
        self.scenes = SceneWriter(world.concepts, self.drawings, self.pixels)
        self.queue: list[int] = []

    def draw(self) -> Batch:
        recipe = self.recipe
        if len(self.queue) < recipe.batch:
            order = list(range(len(self.drawings)))
            self.rng.shuffle(order)
            self.queue = order
        owners, self.queue = self.queue[: recipe.batch], self.queue[recipe.batch :]
        picked = [self.rng.choices(self.drawings[o], self.weights[o])[0] for o in owners]
        captions = [
            self.writer.write(o, self.colours_said(o, d), self.rng)
            for o, d in zip(owners[::2], picked[::2], strict=True)
        ]
        scenes = self.scenes.draw(self.rng, *recipe.scenes)
        concepts = len(self.drawings)
        shown = torch.zeros(len(owners) + len(scenes), concepts)
        shown[range(len(owners)), owners] = 1.0
        meanings = torch.zeros(len(captions) + len(scenes), concepts)
        for row, caption in enumerate(captions):
            meanings[row, list(caption.owners)] = torch.tensor(caption.weights)
        for number, scene in enumerate(scenes):
            for owner in scene.owners:
                shown[len(owners) + number, owner] = 1 / len(scene.owners)
                meanings[len(captions) + number, owner] = 1 / len(scene.owners)
        common = (meanings @ shown.T) > 0
        pairs = torch.zeros(len(meanings), len(shown))
        pairs[: len(captions), : len(owners)] = meanings[: len(captions), owners]
        # A name alone may mean a painted one as well; what is said of a scene, no mere drawing.
        is_open = torch.zeros(len(meanings), len(shown), dtype=torch.bool)
        is_open[: len(captions), len(owners) :] = common[: len(captions), len(owners) :]
        if scenes:
            pairs[len(captions) :, len(owners) :] = meant(scenes)
        for number, scene in enumerate(scenes):
            for column, (owner, drawing) in enumerate(zip(owners, picked, strict=True)):
                if scene.owners == (owner,) and scene.said & {*self.colours[drawing]}:
                    is_open[len(captions) + number, column] = True
        rows = self.texts.rows(
            [*(caption.text for caption in captions), *(scene.caption for scene in scenes)],
            self.rng,
        )
        which = torch.tensor(owners)
        pixels = self.pixels[picked]
        if scenes:
            added = torch.stack([scene.picture for scene in scenes])
            pixels = torch.cat([pixels, (added.clamp(0, 1) * 255).round().byte()])
        return Batch(
            pixels,
            rows,
            shown,
            meanings,
            pairs,
            is_open,
            torch.cat([self.may_flip[which], may_flip(scenes, self.world.concepts)]),
            torch.cat([self.keep_hue[which], torch.ones(len(scenes), dtype=torch.bool)]),
        ).to(recipe.device)

    def colours_said(self, owner: int, drawing: int) -> list[str]:
        """Not those that are kept for evaluation."""
        concept = self.world.concepts[owner]
        kept = kept_colours(concept) if is_thing(concept) else []
        return [colour for colour in self.colours[drawing] if colour not in kept]


def learn(world: World, recipe: Recipe, log: Path, model: Path, start: Path | None = None) -> None:
    """Train; at every check write figures to ``log`` and the averaged weights to ``model``.

    Training ends after ``recipe.steps``, or earlier after ``recipe.minutes``; the learning rate
    follows whichever comes first, so it has always come down at the end.
    """
    torch.manual_seed(recipe.seed)
    device = recipe.device
    writer = CaptionWriter(world.concepts)
    texts = Texts(writer, CONFIG["model_cfg"]["text_cfg"]["context_length"], recipe.seed)
    learner = Learner(texts, len(world.concepts)).to(device, memory_format=torch.channels_last)
    if start is not None:
        resume(learner, texts, start)
    average = copy.deepcopy(learner)
    for parameter in average.parameters():
        parameter.requires_grad_(False)
    decayed = [p for p in learner.parameters() if p.ndim >= 2]
    free = [p for p in learner.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": free, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
        fused=True,
    )
    batches = Batches(world, texts, writer, recipe)
    questions = Questions(world)
    names = texts.rows([concept.name for concept in world.concepts]).to(device)
    watched = {
        label: torch.from_numpy(world.pixels[drawings])
        for label, drawings in (
            ("samples", pick_samples(world)),
            ("held-out", held_out_drawings(world)),
        )
    }
    base = {"step": 0, "minutes": 0.0, "epoch": 0.0}
    if start is not None and log.exists():
        base = json.loads(log.read_text(encoding="utf-8").splitlines()[-1])
    elif start is None:
        log.unlink(missing_ok=True)
    started, running, done, checked = time.monotonic(), 0.0, 0.0, 0
    with Progress() as progress:
        task = progress.add_task("training", total=1.0)
        for step in range(1, recipe.steps + 1):
            learner.train()
            size = recipe.pixels or next(size for at, size in reversed(PHASES) if done >= at)
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * one_cycle(done)
            batch = batches.draw()
            views = augment(batch.pixels, batch.may_flip, batch.keep_hue, size)
            with torch.autocast(device, dtype=torch.bfloat16):
                images, named = learner.images(views), learner.texts(batch.rows)
            loss = loss_of(learner, images, named, batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(learner.parameters(), 2.0)
            optimizer.step()
            blend(average, learner, min(recipe.memory, (1 + step) / (10 + step)))
            running += (loss.item() - running) / min(step, 50)
            minutes = (time.monotonic() - started) / 60
            done = max(step / recipe.steps, minutes / recipe.minutes)
            progress.update(task, completed=done, description=f"loss {running:.2f}")
            if done * CHECKS >= checked + 1 or done >= 1:
                checked += 1
                line = {
                    "step": base["step"] + step,
                    "epoch": round(base["epoch"] + step * recipe.batch / len(world.concepts), 1),
                    "minutes": round(base["minutes"] + minutes, 1),
                    "pixels": size,
                    "loss": round(running, 3),
                    **quick_check(average, names, watched, size),
                    **questions.asked(average, texts, size),
                }
                with log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                progress.console.print(line)
                export(average, texts, model, size)
            if done >= 1:
                break


def one_cycle(done: float, warm: float = 0.1) -> float:
    """Learning rate as a share of its peak: a linear warm-up, then a cosine to zero."""
    if done < warm:
        return 0.04 + 0.96 * done / warm
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - warm) / (1 - warm))))
