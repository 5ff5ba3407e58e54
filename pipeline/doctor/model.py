"""What the model computes on this machine."""

from collections.abc import Iterator

from pipeline import embedders
from pipeline.doctor.check import Check
from pipeline.embedders import PRECISION_FLOOR
from pipeline.errors import ConfigurationError, ModelError
from pipeline.postgres.connections import Connection
from pipeline.spaces import Space, probes
from pipeline.spaces.opening import load_model


def check_model(connection: Connection, space: Space, device: str) -> Iterator[Check]:
    """Whether the model gives the space's vectors on this machine, in a precision it bears."""
    anew = f"pipeline space create NAME --model {space.model}"
    try:
        embedder = load_model(space, device=device)
    except (ModelError, ConfigurationError) as exc:
        yield Check("model", False, str(exc))
        return
    cosines = probes.compare(connection, space, embedder)
    if cosines:  # none stored is what _probes finds
        least, floor = min(cosines)[0], probes.floor_of(space)
        yield Check(
            "model probes",
            least >= floor,
            f"{len(cosines)} embedded again, the least cosine is {least:.6f} of at least {floor}",
            "" if least >= floor else f"bring back what changed in model or libraries, or {anew}",
        )
    family = embedders.family_of(space.description)
    cosine = family.cosine_to_float32(space.model, space.precision, device=device)
    yield Check(
        "model precision",
        cosine >= PRECISION_FLOOR,
        f"{space.precision} has a cosine of {cosine:.6f} to float32, of at least {PRECISION_FLOOR}",
        "" if cosine >= PRECISION_FLOOR else f"{anew} --precision float32",
    )
