"""Probes: a few stored inputs with their vectors, embedded again whenever a model is opened.

A space's description says which model made it. What no description covers (a library that resizes
or tokenizes differently, a damaged checkpoint under a cached hash, a device that computes wrongly)
shows in the vectors: then nothing is written or answered rather than with vectors that do not
compare.
"""

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import psycopg

from pipeline import embedders, modalities
from pipeline.embedders import Embedder
from pipeline.embedders.isolation import tells_roles
from pipeline.embedders.whole import embed_whole
from pipeline.errors import ModelError
from pipeline.modalities import ReadOptions, Role, at_least_one
from pipeline.postgres.connections import Connection, fetch_one
from pipeline.spaces.space import Space
from pipeline.vectors import Vectors

logger = logging.getLogger(__name__)

# Least cosine to the stored vector. One model in float32 agrees with itself to seven digits, while
# another activation function can cost as little as 6e-5 (measured on a small random model). Half
# precision differs by device and batch: 7e-5 from float32 there, more in deep models.
FLOORS = {"float32": 0.99999}
FLOOR = 0.999

LIBRARIES = ("torch", "torchvision", "open_clip_torch", "tokenizers", "transformers", "pillow")
# Nothing is repeated between windows, and nothing refused for its length.
_OPTIONS = ReadOptions(text_overlap_tokens=0, max_windows=10_000)


@dataclass(frozen=True, slots=True)
class Probe:
    """An input as it is stored, such as a text in UTF-8 or an image as a PNG."""

    modality: str
    content: bytes
    role: Role = "item"


def inputs(of_modalities: Sequence[str], in_both_roles: Collection[str] = ()) -> list[Probe]:
    """The probes of a new space; deterministic, but what is stored is what is embedded again.

    Args:
        in_both_roles: modalities of which a query has another vector than an item.
    """
    roles: Mapping[bool, tuple[Role, ...]] = {False: ("item",), True: ("item", "query")}
    return [
        Probe(name, content, role)
        for name in modalities.ordered(of_modalities)
        for role in roles[name in in_both_roles]
        for content in modalities.get(name).probes()
    ]


def store(connection: Connection, space: Space, embedder: Embedder) -> int:
    """Embed the probes with the space's model and keep the vectors, in place of earlier ones.

    Raises:
        ModelError: as :func:`embed_new`.
    """
    own = [name for name in space.modalities if name in embedder.encoders]
    return keep(connection, space, embed_new(own, embedder))


def embed_new(of_modalities: Sequence[str], embedder: Embedder) -> list[tuple[Probe, Vectors]]:
    """The probes of a new space, each with its vector (dimensions,).

    Raises:
        ModelError: the model gives no direction for an input, or breaks an encoder's contract, so
            it is not fit for a space.
    """
    both = [name for name in of_modalities if tells_roles(embedder.encoders[name])]
    probes = inputs(of_modalities, both)
    vectors = embed(probes, embedder)
    if not np.isfinite(vectors).all():
        raise ModelError(
            f"the model {embedder.description.model} gives vectors that are not finite; its "
            "weights are damaged, or it needs --precision float32"
        )
    return list(zip(probes, vectors, strict=True))


def keep(connection: Connection, space: Space, probes: Sequence[tuple[Probe, Vectors]]) -> int:
    """Store probes with their vectors, in place of earlier ones; how many."""
    with connection.transaction():
        connection.execute("DELETE FROM space_probes WHERE space_id = %s", (space.id,))
        with connection.cursor() as cursor:
            cursor.executemany(
                """
                INSERT INTO space_probes (space_id, probe, modality, role, content, embedding)
                VALUES (%s, %s, %s, %s, %s, %s)
                ON CONFLICT DO NOTHING  -- two workers may start on a space without probes
                """,
                [
                    (space.id, number, probe.modality, probe.role, probe.content, vector.tolist())
                    for number, (probe, vector) in enumerate(probes)
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


@dataclass(frozen=True, slots=True)
class StoredProbes:
    """The probes of a space, each with its vector (dimensions,), and what embedded them.

    Attributes:
        libraries: name -> version.
    """

    probes: Sequence[tuple[Probe, Sequence[float]]]
    libraries: Mapping[str, str]

    def of(self, of_modalities: Collection[str]) -> "StoredProbes":
        """Those of some modalities."""
        some = [(probe, v) for probe, v in self.probes if probe.modality in of_modalities]
        return StoredProbes(some, self.libraries)


def stored(connection: Connection, space: Space) -> StoredProbes:
    """Those of a space; it may have none."""
    rows = connection.execute(
        "SELECT modality, content, role, embedding FROM space_probes WHERE space_id = %s "
        "ORDER BY probe",
        (space.id,),
    ).fetchall()
    (made_with,) = fetch_one(
        connection.execute("SELECT probed_with FROM embedding_spaces WHERE id = %s", (space.id,))
    )
    return StoredProbes(
        [(Probe(modality, bytes(content), role), v) for modality, content, role, v in rows],
        made_with or {},
    )


def compare(connection: Connection, space: Space, embedder: Embedder) -> list[tuple[float, str]]:
    """Each stored probe embedded again: the cosine to its stored vector, and its modality."""
    return _cosines(stored(connection, space), embedder)


def _cosines(known: StoredProbes, embedder: Embedder) -> list[tuple[float, str]]:
    if not known.probes:
        return []
    now = embed([probe for probe, _ in known.probes], embedder)
    cosines: list[tuple[float, str]] = []
    for (probe, old), new in zip(known.probes, now, strict=True):
        same_size = len(new) == len(old)
        cosine = float(np.asarray(old, dtype=np.float64) @ new) if same_size else 0.0
        cosines.append((cosine if np.isfinite(cosine) else 0.0, probe.modality))
    return cosines


def count(connection: Connection, space: Space) -> int:
    """How many are stored."""
    (found,) = fetch_one(
        connection.execute("SELECT count(*) FROM space_probes WHERE space_id = %s", (space.id,))
    )
    return int(found)


def verify(
    connection: Connection, space: Space, embedder: Embedder, later: Collection[str] = ()
) -> StoredProbes:
    """Embed the stored probes again; a space without any gets them now.

    A role that may not read them is warned, and one that may not store any as well.

    Args:
        later: modalities whose probes are left for later.

    Returns:
        The probes that were left.

    Raises:
        ModelError: the vectors differ; naming the probes, and what changed as far as is known.
    """
    try:
        known = stored(connection, space)
        if not known.probes:
            store(connection, space, embedder)
            return known
    except psycopg.errors.InsufficientPrivilege:
        logger.warning(
            "This role may not read the probes of the space, or has none to read and may not "
            "store any; the model is not compared with what it gave before.",
            extra={"space": space.name},
        )
        return StoredProbes([], {})
    check(space, embedder, known.of({probe.modality for probe, _ in known.probes} - {*later}))
    return known.of(later)


def check(space: Space, embedder: Embedder, known: StoredProbes) -> None:
    """Embed these probes again, without a database.

    Raises:
        ModelError: as :func:`verify`.
    """
    cosines, floor = _cosines(known, embedder), floor_of(space)
    drifted = [(cosine, modality) for cosine, modality in cosines if cosine < floor]
    if drifted:
        raise ModelError(_explain(known, space, embedder, drifted, len(cosines), floor))


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
    known: StoredProbes,
    space: Space,
    embedder: Embedder,
    drifted: Sequence[tuple[float, str]],
    probes: int,
    floor: float,
) -> str:
    least, _ = min(drifted)
    of_modalities = sorted({modality for _, modality in drifted})
    changed = _differences(space, embedder)
    before = known.libraries
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
        f"{len(drifted)} of {probes} probes ({', '.join(of_modalities)}) have a cosine below "
        f"{floor} to the stored ones, the least is {least:.5f}; {reason}; nothing was written. "
        "Bring back what changed, or build a new space with `pipeline space create`"
    )


def _differences(space: Space, embedder: Embedder) -> list[str]:
    try:
        return embedders.described(space.description).differences(embedder.description)
    except ModelError as exc:
        return [str(exc)]


def embed(probes: Sequence[Probe], embedder: Embedder) -> Vectors:
    """Rows in the order of the probes; one call per modality and role.

    Raises:
        ModelError: an encoder gives other than one unit row per part, or other dimensions than the
            model's description says.
    """
    rows: dict[int, Vectors] = {}
    for name, role in dict.fromkeys((probe.modality, probe.role) for probe in probes):
        modality, encoder = modalities.get(name), embedder.encoders[name]
        numbers = [n for n, p in enumerate(probes) if (p.modality, p.role) == (name, role)]
        contents = [
            at_least_one(
                modality.parts(modality.decode(probes[n].content, _OPTIONS), encoder, _OPTIONS)
            )
            for n in numbers
        ]
        try:
            vectors = embed_whole(encoder, contents, role)
        except ModelError as exc:
            raise ModelError(f"the encoder for {name}: {exc}") from exc
        if vectors.shape[1] != embedder.description.dimensions:
            raise ModelError(
                f"the encoder for {name} of the model {embedder.description.model} gives vectors "
                f"of {vectors.shape[1]} dimensions, and its description says "
                f"{embedder.description.dimensions}"
            )
        rows |= dict(zip(numbers, vectors, strict=True))
    return np.stack([rows[n] for n in range(len(probes))])
