"""Spaces come and go: creating one with its tables and jobs, dropping one with all that is its."""

import json
from collections.abc import Iterable, Mapping

import psycopg
from psycopg import sql

from pipeline import modalities
from pipeline.embedders import Description, Embedder
from pipeline.errors import ConfigurationError, SpaceError
from pipeline.postgres.connections import Connection, short_lock_timeout
from pipeline.spaces.index.graph import Graph, IndexKind
from pipeline.spaces.space import NAME, Space, get_space, list_spaces
from pipeline.spaces.tables import create_table, enqueue_missing

# How long creating or dropping may wait for a transaction that writes source_items.
LOCK_TIMEOUT_MS = 2_000
# pgvector's limits for an HNSW index.
MOST_DIMENSIONS = {"halfvec": 4000, "vector": 2000}

_INSERT = """
INSERT INTO embedding_spaces (name, state, model, dimensions, vector_type, precision,
    context_length, weights_sha256, fingerprint, description, hnsw_m, hnsw_ef_construction,
    target_recall, index_kind)
VALUES (%(name)s, 'building', %(model)s, %(dimensions)s, %(vector_type)s, %(precision)s,
    %(context_length)s, %(weights_sha256)s, %(fingerprint)s, %(description)s, %(hnsw_m)s,
    %(hnsw_ef_construction)s, %(target_recall)s,
    %(index_kind)s)
"""


def create(
    connection: Connection,
    name: str,
    embedder: Embedder,
    *,
    vector_type: str = "halfvec",
    hnsw_m: int = 24,
    hnsw_ef_construction: int = 128,
    target_recall: float = 0.95,
    index: str = "full",
) -> Space:
    """Create a space in state ``building``, its detached tables, and its jobs.

    It has a table for each modality that the embedder has an encoder for, and a job for every
    source item of these modalities and of those that are derived from them.

    Args:
        target_recall: recall@10 that ``ef_search`` is chosen for, above 0 to 1.
        index: ``full`` or ``compact``: what the indexes are to be over once there are items.

    Raises:
        ConfigurationError: the name is not plain, or HNSW cannot index these vectors.
        SpaceError: the name or the model's fingerprint is taken, or another space is building.
    """
    model = embedder.description
    for other in list_spaces(connection):
        if other.fingerprint == model.fingerprint():
            raise SpaceError(f"this model is the one of the space {other.name!r}; use that one")
    check_may_create(connection, name)
    _check_vectors(model, vector_type)
    Graph(hnsw_m, hnsw_ef_construction)  # or it raises
    IndexKind(index)
    values = {
        **_said_of(model),
        "name": name,
        "vector_type": vector_type,
        "hnsw_m": hnsw_m,
        "hnsw_ef_construction": hnsw_ef_construction,
        "target_recall": target_recall,
        "index_kind": index,
    }
    space = _make(connection, name, values, modalities.ordered(embedder.encoders))
    enqueue_missing(connection, space)
    return space


def _make(
    connection: Connection, name: str, values: Mapping[str, object], of: Iterable[str]
) -> Space:
    """The row of the space, and its tables for these modalities."""
    try:
        # Waits for writers of source_items that are under way: those after it see the new space,
        # and their triggers create the jobs; those before it are seen by the enqueueing below.
        with short_lock_timeout(connection, LOCK_TIMEOUT_MS):
            connection.execute("LOCK TABLE source_items IN SHARE MODE")
            connection.execute(_INSERT, values)
            space = get_space(connection, name)
            for modality in of:
                _know(connection, modality)
            know_derived(connection)
            for modality in of:
                create_table(connection, space, modality)
            return get_space(connection, name)
    except psycopg.errors.LockNotAvailable as exc:
        raise SpaceError(
            "source_items is being written by a long transaction; try again when it has ended"
        ) from exc
    except psycopg.errors.UniqueViolation as exc:
        raise SpaceError(
            f"somebody else is creating a space right now: {exc.diag.message_detail}"
        ) from exc


def _said_of(model: Description) -> dict[str, object]:
    return {
        "model": model.model,
        "dimensions": model.dimensions,
        "precision": model.precision,
        "context_length": model.context_length,
        "weights_sha256": model.weights_sha256,
        "fingerprint": model.fingerprint(),
        "description": json.dumps(model.as_dict()),
    }


def check_may_create(connection: Connection, name: str) -> None:
    """What can be said before a model is loaded, which takes a while.

    Raises:
        ConfigurationError: the name is not plain.
        SpaceError: the name is taken, or another space is building.
    """
    if not NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} cannot name a space; use lower-case letters, digits and _, such as vit_b_32"
        )
    for other in list_spaces(connection):
        if other.name == name:
            raise SpaceError(f"the space {name!r} exists already (state {other.state})")
        if other.state == "building":
            raise SpaceError(
                f"the space {other.name!r} is still building; activate or drop it first"
            )


def _know(connection: Connection, name: str) -> None:
    """Let source items be of this modality; the database knows those of the package already."""
    modality = modalities.get(name)
    source = modality.derived_from.name if modality.derived_from is not None else None
    connection.execute(
        """
        INSERT INTO known_modalities (name, media, inline, description, derived_from)
        VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
        """,
        (name, modality.media, modality.inline, modality.description, source),
    )


def know_derived(connection: Connection) -> None:
    """Let source items be of every modality that this process knows how to derive."""
    for modality in modalities.registered():
        if modality.derived_from is not None:
            _know(connection, modality.derived_from.name)
            _know(connection, modality.name)


def enqueue_derived(connection: Connection) -> int:
    """A job for every source item of a modality that a space derives, where it lacks one: rows from
    before this release, or before a package that brings the modality; how many.

    Only of modalities that a space has no item of: later ones have their jobs by triggers.
    """
    know_derived(connection)
    return sum(enqueue_missing(connection, s, s.derived) for s in list_spaces(connection))


def _check_vectors(model: Description, vector_type: str) -> None:
    most = MOST_DIMENSIONS.get(vector_type)
    if most is None:
        raise ConfigurationError(f"the vector type is halfvec or vector, not {vector_type!r}")
    if model.dimensions > most:
        cure = "; use halfvec" if model.dimensions <= MOST_DIMENSIONS["halfvec"] else ""
        raise ConfigurationError(
            f"HNSW takes at most {most} dimensions of type {vector_type}, not "
            f"{model.dimensions}{cure}"
        )


def drop(connection: Connection, space: Space) -> None:
    """Remove a space that is not active: its tables, jobs, probes and cached queries.

    Raises:
        SpaceError: the space is active, or its tables are in use for longer than a moment.
    """
    try:
        with short_lock_timeout(connection, LOCK_TIMEOUT_MS):
            # Deleting from source_items deletes from every space's tables: not in between.
            connection.execute("LOCK TABLE source_items IN SHARE MODE")
            row = connection.execute(
                "DELETE FROM embedding_spaces WHERE id = %s AND state <> 'active' RETURNING id",
                (space.id,),
            ).fetchone()
            if row is None:
                raise SpaceError(
                    f"the space {space.name!r} is active or gone; only another one can be "
                    "dropped, so activate another one first"
                )
            connection.execute("DELETE FROM ingest_jobs WHERE space_id = %s", (space.id,))
            for modality in space.modalities:
                connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(space.table(modality)))
    except psycopg.errors.LockNotAvailable as exc:
        raise SpaceError(
            f"somebody is working with the space {space.name!r} or writing source_items; "
            "end its workers and try again"
        ) from exc
