"""Pictures put together of drawings: things in a colour that is said, two things, several of one.

A drawing shows one thing in its own colours. What a text may say beyond its name ("a blue bicycle",
"a dog to the left of a cat", "three apples", "a boat on a yellow background") is put together here,
in groups that differ in the one word that matters, so that nothing else tells them apart.

Some colours of each thing, and some pairs of things, are kept for evaluation and never trained on.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from demo_captions import COLOURS, MIRROR_SENSITIVE, TEMPLATES, article, plural
from demo_world import Concept
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

PAINTS: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.13, 0.13),
    "orange": (0.97, 0.55, 0.08),
    "yellow": (0.98, 0.85, 0.15),
    "green": (0.20, 0.65, 0.22),
    "blue": (0.15, 0.40, 0.88),
    "purple": (0.52, 0.20, 0.75),
    "pink": (0.98, 0.55, 0.75),
    "brown": (0.48, 0.29, 0.14),
}
GROUNDS = {**PAINTS, "black": (0.08, 0.08, 0.08), "grey": (0.55, 0.55, 0.55)}
NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five"}

KEPT_COLOURS = 2
"""Colours of each thing that are never trained on."""

NEVER = {"smileys-emotion", "people-body", "symbols", "flags"}
"""Groups of what is no thing: a blue face or half a flag is another concept."""


def digest(text: str) -> int:
    return zlib.crc32(text.encode())


def is_thing(concept: Concept) -> bool:
    """Whether it may be painted and put beside another."""
    return concept.group not in NEVER and not set(concept.name.lower().split()) & {
        *COLOURS,
        "rainbow",
        "fire",
        "ocean",
        "tangerine",
        "lemon",
        "lime",
    }


def kept_colours(concept: Concept) -> list[str]:
    """The colours of the thing that no training caption or picture has."""
    return sorted(PAINTS, key=lambda colour: digest(f"{colour} {concept.key}"))[:KEPT_COLOURS]


def is_kept_pair(first: Concept, second: Concept) -> bool:
    """Whether the two are never trained on together."""
    return digest(" ".join(sorted((first.key, second.key)))) % 20 == 0


def paint(pixels: Tensor, colours: Tensor) -> Tensor:
    """Give drawings another colour where they have one, or all over where they have none.

    Args:
        pixels: premultiplied floats, ``(n, 4, h, w)``.
        colours: of the paint, ``(n, 3)``.
    """
    alpha = pixels[:, 3:]
    rgb = pixels[:, :3] / alpha.clamp(min=1e-3)
    high, low = rgb.amax(dim=1, keepdim=True), rgb.amin(dim=1, keepdim=True)
    saturation = (high - low) / high.clamp(min=1e-3)
    coloured = ((saturation - 0.25) * 8).clamp(0, 1) * (high > 0.2)
    share = (coloured * alpha).sum(dim=(1, 2, 3)) / alpha.sum(dim=(1, 2, 3)).clamp(min=1)
    everywhere = (share < 0.3).view(-1, 1, 1, 1)
    # Lines stay dark and lights stay light, so that the thing is still to be seen.
    grey = rgb.mean(dim=1, keepdim=True)
    lines_and_lights = (grey > 0.18) & ~((grey > 0.93) & (share > 0.05).view(-1, 1, 1, 1))
    where = torch.where(everywhere, lines_and_lights.float(), coloured)
    mean = (grey * where * alpha).sum(dim=(2, 3), keepdim=True) / (where * alpha).sum(
        dim=(2, 3), keepdim=True
    ).clamp(min=1)
    shade = (1 + 0.8 * (grey - mean)).clamp(0.45, 1.35)
    painted = (colours.view(-1, 3, 1, 1) * shade).clamp(0, 1)
    return torch.cat([(rgb + (painted - rgb) * where) * alpha, alpha], dim=1)


def place(parts: Sequence[tuple[Tensor, float, float]], size: int, edge: int) -> Tensor:
    """Drawings on one canvas, premultiplied ``(4, size, size)``.

    Args:
        parts: a drawing ``(4, edge, edge)`` and its middle, as shares of the canvas.
    """
    canvas = torch.zeros(4, size, size)
    for drawing, across, down in parts:
        left = min(max(round(across * size - edge / 2), 0), size - edge)
        top = min(max(round(down * size - edge / 2), 0), size - edge)
        under = canvas[:, top : top + edge, left : left + edge]
        canvas[:, top : top + edge, left : left + edge] = drawing + under * (1 - drawing[3:])
    return canvas


def on_ground(picture: Tensor, colour: tuple[float, float, float]) -> Tensor:
    """Over one colour, opaque."""
    ground = torch.tensor([*colour, 1.0]).view(4, 1, 1)
    return picture + ground * (1 - picture[3:])


def shrunk(pixels: Tensor, edge: int) -> Tensor:
    return F.interpolate(pixels, (edge, edge), mode="bicubic", antialias=True).clamp(0, 1)


COUNTED = {
    2: ((0.27, 0.5), (0.73, 0.5)),
    3: ((0.27, 0.27), (0.73, 0.27), (0.5, 0.73)),
    4: ((0.27, 0.27), (0.73, 0.27), (0.27, 0.73), (0.73, 0.73)),
    5: ((0.22, 0.22), (0.78, 0.22), (0.5, 0.5), (0.22, 0.78), (0.78, 0.78)),
}
BESIDE = ("{} to the left of {}", "{} left of {}", "{} on the left and {} on the right")
ABOVE = ("{} above {}", "{} over {}", "{} on top and {} below")
AND = ("{} and {}", "{} and {}", "{} with {}", "{} next to {}", "{}, {}")


@dataclass(frozen=True)
class Scene:
    """One picture and its caption.

    ``shown`` is what another picture must show as well to be meant by the same caption: a caption
    that names no order of two things means both orders.
    """

    picture: Tensor
    caption: str
    owners: tuple[int, ...]
    said: frozenset[str]
    shown: frozenset[str]


class SceneWriter:
    """Draws groups of scenes; the same random source gives the same ones."""

    def __init__(
        self, concepts: Sequence[Concept], drawings: Sequence[Sequence[int]], pixels: Tensor
    ) -> None:
        """
        Args:
            drawings: of each concept, by their numbers.
            pixels: premultiplied bytes of all drawings, ``(drawings, 4, h, w)``.
        """
        self.concepts, self.drawings, self.pixels = concepts, drawings, pixels
        self.things = [n for n, concept in enumerate(concepts) if is_thing(concept)]
        self.size = pixels.shape[-1]

    def drawing(self, owner: int, rng: random.Random) -> Tensor:
        return self.pixels[rng.choice(self.drawings[owner])].float() / 255

    def colours(self, owner: int, count: int, rng: random.Random) -> list[Scene]:
        """One drawing in several colours."""
        concept = self.concepts[owner]
        usable = [colour for colour in PAINTS if colour not in kept_colours(concept)]
        chosen = rng.sample(usable, count)
        paints = torch.tensor([PAINTS[colour] for colour in chosen])
        paints = (paints + torch.empty_like(paints).uniform_(-0.05, 0.05)).clamp(0, 1)
        painted = paint(self.drawing(owner, rng).expand(count, -1, -1, -1), paints)
        return [
            self.of_one(picture, owner, self.coloured(concept, colour, rng), colour)
            for picture, colour in zip(painted, chosen, strict=True)
        ]

    def of_one(self, picture: Tensor, owner: int, caption: str, what: str) -> Scene:
        shown = frozenset({f"{owner}", what})
        return Scene(picture, caption, (owner,), shown, shown)

    def coloured(self, concept: Concept, colour: str, rng: random.Random) -> str:
        name = concept.name
        said = (
            f"{colour} {name}",
            article(f"{colour} {name}"),
            f"{article(name)} that is {colour}",
        )
        text = rng.choice((*said[:2], said[1], said[2]))
        return rng.choice(TEMPLATES).format(text) if rng.random() < 0.3 else text

    def counts(self, owner: int, rng: random.Random) -> list[Scene]:
        """Two numbers of one thing."""
        edge = round(self.size * 0.44)
        small = shrunk(self.drawing(owner, rng).unsqueeze(0), edge)[0]
        found = []
        for number in rng.sample(sorted(NUMBERS), 2):
            parts = [(small, *self.near(at, rng)) for at in COUNTED[number]]
            caption = f"{NUMBERS[number]} {plural(self.concepts[owner].name)}"
            picture = place(parts, self.size, edge)
            found.append(self.of_one(picture, owner, caption, NUMBERS[number]))
        return found

    def grounds(self, owner: int, rng: random.Random) -> list[Scene]:
        """One thing over two colours."""
        edge = round(self.size * 0.75)
        small = shrunk(self.drawing(owner, rng).unsqueeze(0), edge)[0]
        found = []
        for colour in rng.sample(sorted(GROUNDS), 2):
            placed = place([(small, *self.near((0.5, 0.5), rng))], self.size, edge)
            said = article(self.concepts[owner].name)
            ground = article(f"{colour} background")
            caption = rng.choice((f"{{}} on {ground}", f"{{}} over {colour}", f"{{}} on {colour}"))
            picture = on_ground(placed, GROUNDS[colour])
            found.append(self.of_one(picture, owner, caption.format(said), f"on {colour}"))
        return found

    def near(self, at: tuple[float, float], rng: random.Random) -> tuple[float, float]:
        return at[0] + rng.uniform(-0.05, 0.05), at[1] + rng.uniform(-0.05, 0.05)

    def pairs(self, rng: random.Random) -> list[Scene]:
        """Two things in both orders, and each of them with a third."""
        first, second, third = self.three(rng)
        upright = rng.random() < 0.4
        edge = round(self.size * rng.uniform(0.44, 0.52))
        small = {
            owner: shrunk(self.drawing(owner, rng).unsqueeze(0), edge)[0]
            for owner in (first, second, third)
        }
        return [
            self.two(small, one, other, upright=upright, edge=edge, rng=rng)
            for one, other in ((first, second), (second, first), (first, third), (third, second))
        ]

    def three(self, rng: random.Random) -> list[int]:
        while True:
            found = rng.sample(self.things, 3)
            named = [self.concepts[owner] for owner in found]
            if not any(is_kept_pair(a, b) for a in named for b in named if a is not b):
                return found

    def two(
        self,
        small: dict[int, Tensor],
        one: int,
        other: int,
        *,
        upright: bool,
        edge: int,
        rng: random.Random,
    ) -> Scene:
        places = ((0.5, 0.26), (0.5, 0.74)) if upright else ((0.26, 0.5), (0.74, 0.5))
        parts = [
            (small[owner], *self.near(at, rng))
            for owner, at in zip((one, other), places, strict=True)
        ]
        names = [article(self.concepts[owner].name) for owner in (one, other)]
        both = {f"{one}", f"{other}"}
        order = f"{one} above {other}" if upright else f"{one} before {other}"
        if rng.random() < 0.4:
            template, said = rng.choice(ABOVE if upright else BESIDE), both | {order}
        else:
            template, said = rng.choice(AND), both
            rng.shuffle(names)
        return Scene(
            place(parts, self.size, edge),
            template.format(*names),
            (one, other),
            frozenset(said),
            frozenset(both | {order}),
        )

    def draw(self, rng: random.Random, painted: int, paired: int, others: int) -> list[Scene]:
        """Groups: so many things in five colours, so many pairs, so many of counts and grounds."""
        found: list[Scene] = []
        for owner in rng.sample(self.things, painted):
            found += self.colours(owner, 5, rng)
        for _ in range(paired):
            found += self.pairs(rng)
        for owner in rng.sample(self.things, others):
            found += self.counts(owner, rng) if rng.random() < 0.5 else self.grounds(owner, rng)
        return found


def scene_phrases(concepts: Sequence[Concept]) -> list[str]:
    """Texts in which every word stands that a caption of a scene may have."""
    words = [
        *GROUNDS,
        *NUMBERS.values(),
        *(said.format("", "") for said in (*BESIDE, *ABOVE, *AND)),
    ]
    things = [concept.name for concept in concepts if is_thing(concept)]
    return [*words, "a on a background that is over", *things, *map(plural, things)]


def meant(scenes: Sequence[Scene]) -> Tensor:
    """``(captions, pictures)``: 1 where a picture shows all that is said, and nothing else."""
    return torch.tensor(
        [
            [
                float(text.said <= picture.shown and set(text.owners) == set(picture.owners))
                for picture in scenes
            ]
            for text in scenes
        ]
    )


def may_flip(scenes: Sequence[Scene], concepts: Sequence[Concept]) -> Tensor:
    """One thing may be mirrored where its drawing may; two things say which is on the left."""
    return torch.tensor(
        [
            len(scene.owners) == 1
            and not MIRROR_SENSITIVE.search(
                f"{concepts[scene.owners[0]].name} {concepts[scene.owners[0]].subgroup}"
            )
            for scene in scenes
        ]
    )
