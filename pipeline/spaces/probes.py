"""Probes: a few stored inputs with their vectors, embedded again whenever a worker starts.

A space's description says which model made it. What no description covers (a library that resizes
or tokenizes differently, a damaged checkpoint under a cached hash, a device that computes wrongly)
shows in the vectors: then a worker writes nothing rather than vectors that do not compare.
"""

import io
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Protocol

import numpy as np
import psycopg
from PIL import Image, ImageDraw

from pipeline.embedders.description import ModelDescription
from pipeline.errors import ModelError
from pipeline.postgres.connections import Connection
from pipeline.spaces import Space
from pipeline.vectors import Vectors

logger = logging.getLogger(__name__)

# Least cosine to the stored vector. One model in float32 agrees with itself to seven digits, while
# another activation function can cost as little as 6e-5 (measured on a small random model). Half
# precision differs by device and batch: 7e-5 from float32 there, more in deep models.
FLOORS = {"float32": 0.99999}
FLOOR = 0.999

# Short, cut-worthy, upper case, punctuated, not Latin: each touches another part of a tokenizer.
TEXTS = (
    "a photo of a cat",
    "Two RED bicycles, leaning against a brick wall -- in the rain!",
    "42",
    "naïve café, 北京, שלום, 🚲",
    "The harbour at dawn, seen from the hill: small boats, gulls, fog, and one bright window.",
)
LIBRARIES = ("torch", "torchvision", "open_clip_torch", "tokenizers", "transformers", "pillow")


class ProbedEmbedder(Protocol):
    """What probing needs of ``MultimodalEmbedder``."""

    @property
    def description(self) -> ModelDescription: ...
    def embed_text(self, texts: Sequence[str]) -> Vectors: ...
    def embed_images(self, images: Sequence[Image.Image]) -> Vectors: ...


@dataclass(frozen=True, slots=True)
class Probe:
    """An input as it is stored: the text in UTF-8, or the picture as a PNG."""

    modality: str
    content: bytes


def inputs() -> list[Probe]:
    """The probes of a new space; deterministic, but what is stored is what is embedded again."""
    texts = [Probe("text", text.encode()) for text in TEXTS]
    return texts + [Probe("image", _png(image)) for image in _pictures()]


def store(connection: Connection, space: Space, embedder: ProbedEmbedder) -> int:
    """Embed the probes with the space's model and keep the vectors, in place of earlier ones.

    Raises:
        ModelError: the model gives no direction for an input, so it is not fit for a space.
    """
    probes = inputs()
    vectors = _embed(probes, embedder)
    if not np.isfinite(vectors).all():
        raise ModelError(
            f"the model {space.model} gives vectors that are not finite; its weights are damaged, "
            "or it needs --precision float32"
        )
    with connection.transaction():
        connection.execute("DELETE FROM space_probes WHERE space_id = %s", (space.id,))
        with connection.cursor() as cursor:
            cursor.executemany(
                """
                INSERT INTO space_probes (space_id, probe, modality, content, embedding)
                VALUES (%s, %s, %s, %s, %s)
                ON CONFLICT DO NOTHING  -- two workers may start on a space without probes
                """,
                [
                    (space.id, number, probe.modality, probe.content, vector.tolist())
                    for number, (probe, vector) in enumerate(zip(probes, vectors, strict=True))
                ],
            )
        connection.execute(
            "UPDATE embedding_spaces SET probed_with = %s WHERE id = %s",
            (json.dumps(libraries()), space.id),
        )
    return len(probes)


def floor_of(space: Space) -> float:
    """The least cosine to its stored vector that a probe of the space may have."""
    return FLOORS.get(space.precision, FLOOR)


def compare(
    connection: Connection, space: Space, embedder: ProbedEmbedder
) -> list[tuple[float, str]]:
    """Each stored probe embedded again: the cosine to its stored vector, and its modality."""
    rows = connection.execute(
        "SELECT modality, content, embedding FROM space_probes WHERE space_id = %s ORDER BY probe",
        (space.id,),
    ).fetchall()
    if not rows:
        return []
    probes = [Probe(modality, bytes(content)) for modality, content, _ in rows]
    now, then = _embed(probes, embedder), [row[2] for row in rows]
    cosines: list[tuple[float, str]] = []
    for probe, new, old in zip(probes, now, then, strict=True):
        same_size = len(new) == len(old)
        cosine = float(np.asarray(old, dtype=np.float64) @ new) if same_size else 0.0
        cosines.append((cosine if np.isfinite(cosine) else 0.0, probe.modality))
    return cosines


def verify(connection: Connection, space: Space, embedder: ProbedEmbedder) -> None:
    """Embed the stored probes again; a space without any gets them now.

    Raises:
        ModelError: the vectors differ; naming the probes, and what changed as far as is known.
    """
    cosines = compare(connection, space, embedder)
    if not cosines:
        try:
            store(connection, space, embedder)
        except psycopg.errors.InsufficientPrivilege:
            logger.warning(
                "The space has no probes, and this role may not store any.",
                extra={"space": space.name},
            )
        return
    floor = floor_of(space)
    drifted = [(cosine, modality) for cosine, modality in cosines if cosine < floor]
    if drifted:
        raise ModelError(_explain(connection, space, embedder, drifted, len(cosines), floor))


def libraries() -> dict[str, str]:
    """The versions of the libraries that decide which vector an input gets."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _explain(
    connection: Connection,
    space: Space,
    embedder: ProbedEmbedder,
    drifted: Sequence[tuple[float, str]],
    probes: int,
    floor: float,
) -> str:
    least, _ = min(drifted)
    modalities = sorted({modality for _, modality in drifted})
    changed = [
        difference
        for difference in _stored_description(space, embedder)
        if not difference.startswith("model:")
    ]
    row = connection.execute(
        "SELECT probed_with FROM embedding_spaces WHERE id = %s", (space.id,)
    ).fetchone()
    before = (row[0] if row else None) or {}
    changed += [
        f"{name}: {before[name]} != {new}"
        for name, new in libraries().items()
        if name in before and before[name] != new
    ]
    reason = (
        "what changed: " + "; ".join(changed)
        if changed
        else "neither the description nor the libraries' versions differ, so look at the weights' "
        "file, the device and its driver"
    )
    return (
        f"the model does not give the vectors of the space {space.name!r} any more: "
        f"{len(drifted)} of {probes} probes ({', '.join(modalities)}) have a cosine below {floor} "
        f"to the stored ones, the least is {least:.5f}; {reason}; nothing was written. Bring back "
        "what changed, or build a new space with `pipeline space create`"
    )


def _stored_description(space: Space, embedder: ProbedEmbedder) -> list[str]:
    try:
        return ModelDescription.from_dict(space.description).differences(embedder.description)
    except TypeError:
        return ["the space was described by another version of the pipeline"]


def _embed(probes: Sequence[Probe], embedder: ProbedEmbedder) -> Vectors:
    """Rows in the order of the probes; one call per modality."""
    texts = [p.content.decode() for p in probes if p.modality == "text"]
    images = [_open(p.content) for p in probes if p.modality == "image"]
    of_texts = iter(embedder.embed_text(texts) if texts else ())
    of_images = iter(embedder.embed_images(images) if images else ())
    return np.stack([next(of_texts if p.modality == "text" else of_images) for p in probes])


def _pictures() -> list[Image.Image]:
    """Fine stripes show another resampling, odd sides another crop, colours another mean and
    standard deviation."""
    y, x = np.mgrid[0:240, 0:320]
    ramp = np.stack([x * 255 // 319, y * 255 // 239, 255 - x * 255 // 319], axis=-1)
    stripes = np.repeat((((x + 2 * y) // 3) % 2 * 255)[..., None], 3, axis=-1)
    noise = np.random.default_rng(7).integers(0, 256, (96, 224, 3))
    pictures = [Image.fromarray(a.astype(np.uint8)) for a in (ramp, stripes, noise)]
    scene = Image.new("RGB", (180, 300), (120, 170, 230))
    draw = ImageDraw.Draw(scene)
    draw.rectangle((0, 200, 180, 300), fill=(40, 120, 50))
    draw.ellipse((50, 90, 130, 170), fill=(220, 40, 30))
    draw.line((10, 10, 170, 290), fill=(250, 240, 80), width=9)
    return [*pictures, scene]


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _open(content: bytes) -> Image.Image:
    with Image.open(io.BytesIO(content)) as image:
        return image.convert("RGB")
