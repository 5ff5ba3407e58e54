"""The first space of a database, from the settings' model."""

from collections.abc import Callable

from pipeline import spaces
from pipeline.postgres.connections import Connection, advisory_lock
from pipeline.settings import Settings
from pipeline.spaces import Space, probes

FIRST_SPACE_LOCK = 0x70697066


def ensure_space(
    connection: Connection, settings: Settings, note: Callable[[str], None]
) -> tuple[Space, bool]:
    """The active space; the first one is created, and activated at once since it is empty.

    Returns:
        The space, and whether it was created now.

    Raises:
        ModelError: the model cannot be loaded.
    """
    active = spaces.find_active(connection)
    if active is not None:
        return active, False
    # Containers that start together each come here; one creates, the others find it active.
    with advisory_lock(connection, FIRST_SPACE_LOCK):
        return _first_space(connection, settings, note)


def _first_space(
    connection: Connection, settings: Settings, note: Callable[[str], None]
) -> tuple[Space, bool]:
    active = spaces.find_active(connection)
    if active is not None:
        return active, False
    from pipeline.embedders.openclip.embedder import embedder_of_new_space  # loads torch

    note(f"loading the model {settings.model}")
    embedder = embedder_of_new_space(
        settings.model, device=settings.device, precision=settings.precision
    )
    fingerprint = embedder.description.fingerprint()
    # One that was created and not yet activated when the command was killed.
    left = [s for s in spaces.list_spaces(connection) if s.fingerprint == fingerprint]
    space = (
        left[0]
        if left
        else spaces.create(
            connection,
            spaces.name_for(settings.model),
            embedder.description,
            vector_type=settings.vector_type,
            hnsw_m=settings.hnsw_m,
            hnsw_ef_construction=settings.hnsw_ef_construction,
        )
    )
    probes.store(connection, space, embedder)
    return spaces.activate(connection, space), True
