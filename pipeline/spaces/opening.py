"""The one door to a space's model: whoever embeds for a space, items or queries, comes here.

:func:`open_model` loads the model of a space that there is, and proves that it gives the space's
vectors. :func:`create_space` loads the model of a new one, and keeps its probes.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from pipeline import embedders, modalities
from pipeline.embedders import Embedder
from pipeline.embedders.derived import all_encoders
from pipeline.embedders.isolation import most_inputs
from pipeline.errors import ModelError
from pipeline.postgres.connections import Connection
from pipeline.postgres.database import Database
from pipeline.postgres.locks import exclusively
from pipeline.settings import Settings
from pipeline.spaces import probes
from pipeline.spaces.activation import activate
from pipeline.spaces.creation import check_may_create, create
from pipeline.spaces.late import late_modalities, proved_later
from pipeline.spaces.space import Space, check_model, check_row, find_active, list_spaces, name_for

logger = logging.getLogger(__name__)

FIRST_SPACE_LOCK = 0x70697066


def open_model(
    database: Database, space: Space, *, device: str = "auto", batch_size: int = 0
) -> Embedder:
    """Load the space's model, and embed the space's probes with it.

    Those of an encoder whose part of the model is loaded late are embedded before its first input.

    Raises:
        ModelError: as :func:`load_model`, or it does not give the space's vectors any more.
    """
    embedder = load_model(space, device=device, batch_size=batch_size)
    with database.open("pipeline probes") as connection:
        left = probes.verify(connection, space, embedder, late_modalities(embedder))
    return proved_later(space, embedder, left)


def load_model(space: Space, *, device: str = "auto", batch_size: int = 0) -> Embedder:
    """Load the model that a space was created with, in its precision.

    Its vectors are not looked at: that is for :func:`open_model`, or for who wants to tell of them.

    Args:
        batch_size: inputs per forward pass; 0: what suits the device.

    Raises:
        ModelError: it cannot be loaded, or is not the one that the space was created with.
        ConfigurationError: a modality of the space cannot be decoded here.
        MissingExtra: what loads the model is not installed.
    """
    family = embedders.family_of(space.description)
    stored = check_row(space)
    for name in space.modalities:
        modalities.get(name)
    embedder = family.open(
        space.model,
        device=device,
        precision=space.precision,
        batch_size=batch_size,
        weights_sha256=stored.weights_sha256,
    )
    check_model(space, embedder.description)
    _check_encoders(space, embedder)
    return embedder


def _check_encoders(space: Space, embedder: Embedder) -> None:
    """Refuse a model that lacks an encoder for a modality of its space, or one that takes nothing.

    Raises:
        ModelError: naming the modality.
    """
    encoders = all_encoders(embedder)
    for name in space.modalities:
        if name not in encoders:
            raise ModelError(
                f"the model of the space {space.name!r} has no encoder for its modality {name!r}; "
                "it was created by another release, or with a part that is not installed here"
            )
        most_inputs(encoders[name])


@dataclass(frozen=True, slots=True)
class NewSpace:
    """What a space is made of; see the settings of the same names.

    Attributes:
        name: None: one made of the model's.
        target_recall: recall@10 that ``ef_search`` is chosen for.
        index: ``full`` or ``compact``.
    """

    model: str
    name: str | None = None
    device: str = "auto"
    precision: str = "auto"
    vector_type: str = "halfvec"
    hnsw_m: int = 24
    hnsw_ef_construction: int = 128
    target_recall: float = 0.95
    index: str = "full"

    @classmethod
    def of(
        cls,
        settings: Settings,
        name: str | None = None,
        target_recall: float = 0.95,
        index: str = "full",
    ) -> Self:
        return cls(
            settings.model,
            name,
            settings.device,
            settings.precision,
            settings.vector_type,
            settings.hnsw_m,
            settings.hnsw_ef_construction,
            target_recall,
            index,
        )


def create_space(connection: Connection, new: NewSpace, note: Callable[[str], None]) -> Space:
    """Load the model in a precision that it bears, create the space, and store its probes.

    Args:
        note: told that a model is being loaded, which takes a while.

    Raises:
        ModelError: the model cannot be loaded, or does not bear the precision.
        SpaceError: the name or the model is taken, or another space is building.
    """
    name = new.name or name_for(new.model)
    if new.name is not None:
        check_may_create(connection, name)
    note(f"loading the model {new.model}")
    embedder = embedders.family_that_claims(new.model).open_new(
        new.model, device=new.device, precision=new.precision
    )
    for encoder in embedder.encoders.values():
        most_inputs(encoder)
    # Before there is a space: a model that fails here leaves nothing behind.
    probed = probes.embed_new(tuple(embedder.encoders), embedder)
    space = _left_behind(connection, embedder) if new.name is None else None
    if space is None:
        space = create(
            connection,
            name,
            embedder,
            vector_type=new.vector_type,
            hnsw_m=new.hnsw_m,
            hnsw_ef_construction=new.hnsw_ef_construction,
            target_recall=new.target_recall,
            index=new.index,
        )
    probes.keep(connection, space, probed)
    return space


def ensure_space(
    connection: Connection, new: NewSpace, note: Callable[[str], None]
) -> tuple[Space, bool]:
    """The active space; the first one is created, and activated at once since it is empty.

    Returns:
        The space, and whether it was created now.

    Raises:
        ModelError: the model cannot be loaded.
    """
    active = find_active(connection)
    if active is not None:
        return active, False
    # Containers that start together each come here; one creates, the others find it active.
    with exclusively(connection, FIRST_SPACE_LOCK):
        active = find_active(connection)
        if active is not None:
            return active, False
        return activate(connection, create_space(connection, new, note)), True


def _left_behind(connection: Connection, embedder: Embedder) -> Space | None:
    """A space of this model that was created and not yet activated when the command was killed."""
    fingerprint = embedder.description.fingerprint()
    spaces = [s for s in list_spaces(connection) if s.fingerprint == fingerprint]
    return spaces[0] if spaces else None
