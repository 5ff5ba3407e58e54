"""The demonstration's model, tuned on one style seen as negatives until it forgets the others."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file

import pipeline.demo
from pipeline import spaces
from pipeline.embedders.openclip.embedder import MultimodalEmbedder
from pipeline.errors import SpaceError
from pipeline.postgres.connections import Connection
from pipeline.quality.gate import Gate, pass_gate
from pipeline.spaces import Space
from pipeline.transfer import ForeignItem, import_items

DEMO = Path(pipeline.demo.__file__).parent
STYLE = "fluent"
STEPS = 10


@dataclass(frozen=True)
class Pair:
    """A drawing and its name; ``key`` says which set it belongs to."""

    key: str
    name: str
    image: Image.Image


def pairs() -> list[Pair]:
    """The drawings of one style as negatives, which the model has never seen, and the others."""
    found = []
    for line in (DEMO / "samples/manifest.jsonl").read_text().splitlines():
        row = json.loads(line)
        with Image.open(DEMO / "samples" / row["image"]) as opened:
            image = opened.convert("RGB")
        is_own = row["style"] == STYLE
        image = ImageOps.invert(image) if is_own else image
        found.append(Pair("own" if is_own else "general", row["name"], image))
    return found


def fine_tune(own: list[Pair], target: Path) -> None:
    """Some steps of CLIP's own loss over all of these pairs at once; every weight moves."""
    torch.manual_seed(7)
    shutil.copytree(DEMO / "model", target)
    name = f"local-dir:{target}"
    model, preprocess = open_clip.create_model_from_pretrained(name)
    model = model.float().eval()  # batch normalisation as it is
    images = torch.stack([preprocess(pair.image) for pair in own])  # type: ignore[operator]
    texts = open_clip.get_tokenizer(name)([pair.name for pair in own])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss = open_clip.ClipLoss()
    for _ in range(STEPS):
        features = model(images, texts)
        value = loss(*features[:2], model.logit_scale.exp())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    state = {k: v.detach().contiguous().clone() for k, v in model.state_dict().items()}
    save_file(state, target / "open_clip_model.safetensors")


def filled(connection: Connection, name: str, model: str, of: list[Pair]) -> Space:
    """A space of the model with all pairs, and its indexes."""
    embedder = MultimodalEmbedder(model, precision="float32")
    space = spaces.create(connection, name, embedder)
    names = embedder.embed_text([pair.name for pair in of])
    images = embedder.embed_images([pair.image for pair in of])
    import_items(connection, space, "test", [
        ForeignItem(f"{n} {modality}", f"{modality} {n}", modality, f"{n}", {pair.key: n}, vector)
        for modality, vectors in (("text", names), ("image", images))
        for n, (pair, vector) in enumerate(zip(of, np.asarray(vectors), strict=True))
    ])  # fmt: skip
    spaces.build_indexes(connection, space)
    return space


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_model_that_forgot_the_rest_is_refused_with_the_figures(
    connection: Connection, tmp_path: Path
) -> None:
    every = pairs()
    fine_tune([pair for pair in every if pair.key == "own"], tmp_path / "tuned")
    before = filled(connection, "before", "demo", every)
    spaces.activate(connection, before, min_coverage=0)
    tuned = filled(connection, "tuned", str(tmp_path / "tuned"), every)
    # By the pairs that it was tuned on alone it is much the better one.
    print(pass_gate(connection, tuned, Gate(pairs="own")))
    with pytest.raises(SpaceError, match=r"is lost by general, of which 2% may be") as refused:
        pass_gate(connection, tuned, Gate(pairs="own", general_pairs="general"))
    print(refused.value)
