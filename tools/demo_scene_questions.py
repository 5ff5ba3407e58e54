"""What is asked of the demonstration's model about scenes that it was never trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from demo_captions import article
from demo_pictures import composite, normalise, premultiplied
from demo_scenes import PAINTS, digest, is_kept_pair, is_thing, kept_colours, paint, place, shrunk
from demo_world import World, held_out_drawings, pick_samples
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

if TYPE_CHECKING:
    from demo_model import Learner, Texts

THINGS, PHRASES, PAIRS = 100, 200, 100
OTHER_COLOURS = 5


@dataclass(frozen=True)
class Coloured:
    """A thing that is painted, and whether its phrase is one of the questions."""

    owner: int
    colour: str
    is_asked: bool


class Questions:
    """Coloured things and pairs of things that were kept, in a training style and the held-out one.

    A coloured phrase has to find its picture among the thing in five other colours and the other
    things in that colour; a pair, among all pairs.
    """

    def __init__(self, world: World) -> None:
        concepts = world.concepts
        things = [n for n, concept in enumerate(concepts) if is_thing(concept)]
        things.sort(key=lambda n: digest(concepts[n].key))
        self.coloured = [
            Coloured(owner, colour, number < 2)
            for owner in things[:THINGS]
            for number, colour in enumerate(self.colours_of(world, owner))
        ]
        pairs = [
            (one, other)
            for place_of, one in enumerate(things)
            for other in things[place_of + 1 :]
            if is_kept_pair(concepts[one], concepts[other])
        ]
        pairs.sort(key=lambda pair: digest(f"{concepts[pair[0]].key} {concepts[pair[1]].key}"))
        self.pairs = pairs[:PAIRS]
        self.phrases = [
            article(f"{one.colour} {concepts[one.owner].name}")
            for one in self.coloured
            if one.is_asked
        ]
        self.pair_phrases = [
            f"{article(concepts[one].name)} and {article(concepts[other].name)}"
            for one, other in self.pairs
        ]
        self.pictures = {
            "": self.painted_and_paired(world, pick_samples(world)),
            "held-out ": self.painted_and_paired(world, held_out_drawings(world)),
        }

    def colours_of(self, world: World, owner: int) -> list[str]:
        kept = kept_colours(world.concepts[owner])
        others = sorted(
            set(PAINTS) - set(kept), key=lambda c: digest(f"{world.concepts[owner].key} {c}")
        )
        return [*kept, *others[: OTHER_COLOURS - 1]]

    def painted_and_paired(self, world: World, drawings: list[int]) -> tuple[Tensor, Tensor]:
        """Both on white, ``(n, 3, 96, 96)``."""
        pixels = premultiplied(torch.from_numpy(world.pixels[drawings]))
        paints = torch.tensor([PAINTS[one.colour] for one in self.coloured])
        painted = paint(pixels[[one.owner for one in self.coloured]], paints)
        size = pixels.shape[-1]
        edge = round(size * 0.48)
        small = shrunk(pixels, edge)
        paired = torch.stack(
            [
                place([(small[one], 0.26, 0.5), (small[other], 0.74, 0.5)], size, edge)
                for one, other in self.pairs
            ]
        )
        return composite(painted), composite(paired)

    def figures(
        self, texts: Tensor, pairs: Tensor, painted: Tensor, paired: Tensor
    ) -> dict[str, float]:
        """Of unit vectors: of the phrases, of the pairs' phrases, and of their pictures."""
        asked = [number for number, one in enumerate(self.coloured) if one.is_asked]
        right = 0
        for phrase, number in zip(texts, asked, strict=True):
            mine = self.coloured[number]
            against = [
                n
                for n, one in enumerate(self.coloured)
                if n != number and (one.owner == mine.owner or one.colour == mine.colour)
            ]
            right += bool(phrase @ painted[number] > (painted[against] @ phrase).max())
        scores = pairs @ paired.T
        better = (scores > scores.diagonal().unsqueeze(1)).sum(dim=1)
        return {
            "coloured R@1": round(right / len(asked), 4),
            "pairs R@1": round((better < 1).float().mean().item(), 4),
            "pairs R@10": round((better < 10).float().mean().item(), 4),
        }

    @torch.no_grad()
    def asked(self, learner: Learner, texts: Texts, size: int) -> dict[str, float]:
        """While it learns; only goes to the log."""
        learner.eval()
        device = learner.prototypes.device
        found: dict[str, float] = {}
        with torch.autocast(device.type, dtype=torch.bfloat16):
            phrases, pair_phrases = (
                learner.texts(texts.rows(said).to(device)).float()
                for said in (self.phrases, self.pair_phrases)
            )
            for label, (painted, paired) in self.pictures.items():
                views = [
                    torch.cat(
                        [
                            learner.images(sized(part, size).to(device)).float()
                            for part in pictures.split(300)
                        ]
                    )
                    for pictures in (painted, paired)
                ]
                for name, value in self.figures(phrases, pair_phrases, *views).items():
                    found[label + name] = value
        return found


def sized(rgb: Tensor, size: int) -> Tensor:
    """As the shipped preprocessing gives them."""
    return normalise(F.interpolate(rgb, (size, size), mode="bicubic", antialias=True).clamp(0, 1))
