"""Embedding spaces: exactly one model each; described, created, activated, rolled back, dropped.

A space owns one table per modality, ``multimodal_items_<modality>_s<id>``. Those of the active
space are the partitions of ``multimodal_items``; the others stand detached, filled or kept by the
same queue. Changing the model is one short transaction that swaps partitions: measured 8 ms under
a concurrent reader, see docs/decisions.md.
"""

import json
import logging
import re
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from pipeline.database import Connection, short_lock_timeout
from pipeline.description import ModelDescription
from pipeline.errors import ConfigurationError, SpaceError
from pipeline.models import MODALITIES

logger = logging.getLogger(__name__)

# How long a swap may wait for readers before it lets them pass and tries again.
LOCK_TIMEOUT_MS = 2_000
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True)
class Space:
    """A row of ``embedding_spaces``."""

    id: int
    name: str
    state: str
    model: str
    dimensions: int
    vector_type: str
    precision: str
    context_length: int
    fingerprint: str
    description: dict[str, Any]
    hnsw_m: int
    hnsw_ef_construction: int
    ef_search: int

    def table_name(self, modality: str) -> str:
        """``multimodal_items_<modality>_s<id>``."""
        return f"multimodal_items_{modality}_s{self.id}"

    def table(self, modality: str) -> sql.Identifier:
        return sql.Identifier(self.table_name(modality))

    @property
    def column_type(self) -> sql.SQL:
        """Such as ``halfvec(512)``; both parts were checked when the space was created."""
        return sql.SQL(f"{self.vector_type}({self.dimensions:d})")  # type: ignore[arg-type]


_COLUMNS = sql.SQL(
    "id, name, state, model, dimensions, vector_type, precision, context_length, fingerprint, "
    "description, hnsw_m, hnsw_ef_construction, ef_search"
)


def _select(connection: Connection, condition: str = "true", *values: Any) -> list[Space]:
    query = sql.SQL("SELECT {} FROM embedding_spaces WHERE {} ORDER BY id").format(
        _COLUMNS, sql.SQL(condition)  # type: ignore[arg-type]
    )
    with connection.cursor(row_factory=class_row(Space)) as cursor:
        return cursor.execute(query, values).fetchall()


def list_spaces(connection: Connection) -> list[Space]:
    """Every space, oldest first."""
    return _select(connection)


def find_active(connection: Connection) -> Space | None:
    """The active space, if there is one."""
    return next(iter(_select(connection, "state = 'active'")), None)


def active_space(connection: Connection) -> Space:
    """The active space.

    Raises:
        SpaceError: there is none yet.
    """
    space = find_active(connection)
    if space is None:
        raise SpaceError("no embedding space is active yet; run `pipeline migrate` to create one")
    return space


def get_space(connection: Connection, name: str) -> Space:
    """The space of that name.

    Raises:
        SpaceError: naming those that exist.
    """
    for space in _select(connection, "name = %s", name):
        return space
    known = ", ".join(space.name for space in list_spaces(connection)) or "none"
    raise SpaceError(f"there is no space {name!r}; there are: {known}")


def name_for(model: str) -> str:
    """A plain name from a model's: ``ViT-B-32/laion2b_s34b_b79k`` -> ``vit_b_32_laion2b_s34b_b79k``."""
    slug = re.sub(r"[^a-z0-9]+", "_", model.lower().rstrip("/")).strip("_")
    if not slug or not slug[0].isalpha():
        slug = f"space_{slug}"
    return slug[-40:].lstrip("_0123456789") if len(slug) > 40 else slug


def create(
    connection: Connection,
    name: str,
    model: ModelDescription,
    *,
    vector_type: str = "halfvec",
    hnsw_m: int = 16,
    hnsw_ef_construction: int = 64,
) -> Space:
    """Create a space in state ``building``, its detached tables, and a job per source item.

    Raises:
        ConfigurationError: the name is not plain.
        SpaceError: the name or the model's fingerprint is taken, or another space is building.
    """
    if not NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} cannot name a space; use lower-case letters, digits and _, such as vit_b_32"
        )
    if vector_type == "halfvec" and model.dimensions > 4000:
        raise ConfigurationError(f"HNSW takes at most 4000 dimensions, not {model.dimensions}")
    if vector_type == "vector" and model.dimensions > 2000:
        raise ConfigurationError(
            f"HNSW takes at most 2000 dimensions of type vector, not {model.dimensions}; "
            "use halfvec"
        )
    for other in list_spaces(connection):
        if other.name == name:
            raise SpaceError(f"the space {name!r} exists already (state {other.state})")
        if other.fingerprint == model.fingerprint():
            raise SpaceError(f"this model is the one of the space {other.name!r}; use that one")
        if other.state == "building":
            raise SpaceError(
                f"the space {other.name!r} is still building; activate or drop it first"
            )
    try:
        # Waits for writers of source_items that are under way: those after it see the new space,
        # and their triggers create the jobs; those before it are seen by the enqueueing below.
        with short_lock_timeout(connection, LOCK_TIMEOUT_MS):
            connection.execute("LOCK TABLE source_items IN SHARE MODE")
            row = connection.execute(
                """
                INSERT INTO embedding_spaces (name, state, model, dimensions, vector_type,
                    precision, context_length, weights_sha256, fingerprint, description, hnsw_m,
                    hnsw_ef_construction)
                VALUES (%s, 'building', %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id
                """,
                (
                    name,
                    model.model,
                    model.dimensions,
                    vector_type,
                    model.precision,
                    model.context_length,
                    model.weights_sha256,
                    model.fingerprint(),
                    json.dumps(model.as_dict()),
                    hnsw_m,
                    hnsw_ef_construction,
                ),
            ).fetchone()
            assert row is not None
            space = _select(connection, "id = %s", row[0])[0]
            for modality in MODALITIES:
                _create_table(connection, space, modality)
    except psycopg.errors.LockNotAvailable as exc:
        raise SpaceError(
            "source_items is being written by a long transaction; try again when it has ended"
        ) from exc
    except psycopg.errors.UniqueViolation as exc:
        raise SpaceError(f"somebody else is creating a space right now: {exc.diag.detail}") from exc
    enqueue_missing(connection, space)
    return space


def _create_table(connection: Connection, space: Space, modality: str) -> None:
    """One detached table of the space, ready to be a partition, with no HNSW index yet."""
    table, name = space.table(modality), space.table_name(modality)
    connection.execute(
        sql.SQL(
            """
            CREATE TABLE {table} (
                LIKE multimodal_items INCLUDING DEFAULTS INCLUDING COMMENTS,
                CONSTRAINT {pkey} PRIMARY KEY (id, modality),
                CONSTRAINT {unique} UNIQUE (source_id, part, modality),
                CONSTRAINT multimodal_items_modality_known CHECK (modality IN ('text', 'image')),
                CONSTRAINT {of_modality} CHECK (modality = {modality}),
                CONSTRAINT {of_space} CHECK (space_id = {space}),
                CONSTRAINT {unit} CHECK (abs(l2_norm(embedding) - 1) < 0.01)
            )
            """
        ).format(
            table=table,
            pkey=sql.Identifier(f"{name}_pkey"),
            unique=sql.Identifier(f"{name}_source_part_unique"),
            of_modality=sql.Identifier(f"{name}_modality"),
            of_space=sql.Identifier(f"{name}_space"),
            unit=sql.Identifier(f"{name}_unit_vector"),
            modality=sql.Literal(modality),
            space=sql.Literal(space.id),
        )
    )
    # Inline where it fits into a quarter of a page, so that a search fetches no TOAST.
    size = space.dimensions * (2 if space.vector_type == "halfvec" else 4)
    connection.execute(
        sql.SQL(
            "ALTER TABLE {} ALTER COLUMN embedding TYPE {}, "
            "ALTER COLUMN embedding SET STORAGE {}"
        ).format(table, space.column_type, sql.SQL("PLAIN" if size <= 2000 else "EXTERNAL"))
    )
    connection.execute(
        sql.SQL("CREATE INDEX {} ON {} USING gin (metadata jsonb_path_ops)").format(
            sql.Identifier(f"{name}_metadata"), table
        )
    )
    connection.execute(
        sql.SQL("CREATE INDEX {} ON {} USING hash (content_sha256)").format(
            sql.Identifier(f"{name}_content"), table
        )
    )
    connection.execute(
        sql.SQL("COMMENT ON TABLE {} IS {}").format(
            table, sql.Literal(f"Items of modality {modality} in the space {space.name}.")
        )
    )
    connection.execute(
        "INSERT INTO space_modalities (space_id, modality) VALUES (%s, %s)", (space.id, modality)
    )


def enqueue_missing(connection: Connection, space: Space) -> int:
    """A job for every source item that has neither a job nor an item in the space."""
    items = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT source_id FROM {}").format(space.table(modality)) for modality in MODALITIES
    )
    return connection.execute(
        sql.SQL(
            """
            INSERT INTO ingest_jobs (space_id, source_id)
            SELECT {space}, s.id FROM source_items AS s
            WHERE NOT EXISTS (SELECT FROM ({items}) AS i WHERE i.source_id = s.id)
            ORDER BY s.id
            ON CONFLICT DO NOTHING
            """
        ).format(space=sql.Literal(space.id), items=items)
    ).rowcount


def index_name(space: Space, modality: str) -> str:
    """The name of a table's HNSW index."""
    return f"{space.table_name(modality)}_embedding"


def build_indexes(connection: Connection, space: Space) -> None:
    """Build the HNSW index of every table that lacks one; a broken one is built anew."""
    operators = sql.SQL(f"{space.vector_type}_cosine_ops")  # type: ignore[arg-type]
    for modality in MODALITIES:
        index = sql.Identifier(index_name(space, modality))
        row = connection.execute(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)",
            (index_name(space, modality),),
        ).fetchone()
        if row is not None and row[0]:
            continue
        if row is not None:
            connection.execute(sql.SQL("DROP INDEX {}").format(index))
        connection.execute(
            sql.SQL(
                "CREATE INDEX {} ON {} USING hnsw (embedding {}) "
                "WITH (m = {}, ef_construction = {})"
            ).format(
                index,
                space.table(modality),
                operators,
                sql.Literal(space.hnsw_m),
                sql.Literal(space.hnsw_ef_construction),
            )
        )


def activate(connection: Connection, space: Space, *, attempts: int = 30) -> Space:
    """Make ``space`` the active one: its tables become the partitions of ``multimodal_items``.

    One transaction under a lock timeout, tried again so that it never queues behind a long query
    and blocks everybody behind itself. The old space stays, detached, for :func:`activate` to
    come back to.

    Raises:
        SpaceError: the swap got no lock in all its attempts, or views depend on the vector column.
    """
    if space.state == "active":
        return space
    build_indexes(connection, space)
    for attempt in range(attempts):
        try:
            with short_lock_timeout(connection, LOCK_TIMEOUT_MS):
                _swap(connection, space)
            return get_space(connection, space.name)
        except psycopg.errors.LockNotAvailable:
            logger.info("readers hold multimodal_items; trying again", extra={"attempt": attempt})
        except psycopg.errors.FeatureNotSupported as exc:
            raise SpaceError(
                f"a view depends on the vector column ({exc.diag.message_detail}); "
                "drop it, activate, and create it again"
            ) from exc
    raise SpaceError(
        f"multimodal_items was never free for {LOCK_TIMEOUT_MS / 1000:.0f} s in {attempts} "
        "attempts; end the long queries on it (pg_stat_activity) and try again"
    )


def _swap(connection: Connection, space: Space) -> None:
    connection.execute("LOCK TABLE multimodal_items IN ACCESS EXCLUSIVE MODE")
    old = find_active(connection)
    if old is not None:
        for modality in MODALITIES:
            connection.execute(
                sql.SQL("ALTER TABLE multimodal_items DETACH PARTITION {}").format(
                    old.table(modality)
                )
            )
        connection.execute(
            "UPDATE embedding_spaces SET state = 'retired', retired_at = now() WHERE id = %s",
            (old.id,),
        )
    connection.execute("DROP INDEX IF EXISTS multimodal_items_embedding")
    if old is None or old.column_type != space.column_type:
        connection.execute(
            sql.SQL("ALTER TABLE multimodal_items ALTER COLUMN embedding TYPE {}").format(
                space.column_type
            )
        )
    # Valid at once, since the parent has no partition at this moment; the partitions' own
    # indexes join it as they are attached.
    connection.execute(
        sql.SQL(
            "CREATE INDEX multimodal_items_embedding ON ONLY multimodal_items "
            "USING hnsw (embedding {}) WITH (m = {}, ef_construction = {})"
        ).format(
            sql.SQL(f"{space.vector_type}_cosine_ops"),  # type: ignore[arg-type]
            sql.Literal(space.hnsw_m),
            sql.Literal(space.hnsw_ef_construction),
        )
    )
    for modality in MODALITIES:
        connection.execute(
            sql.SQL("ALTER TABLE multimodal_items ATTACH PARTITION {} FOR VALUES IN ({})").format(
                space.table(modality), sql.Literal(modality)
            )
        )
    connection.execute(
        "UPDATE embedding_spaces SET state = 'active', activated_at = now(), retired_at = NULL "
        "WHERE id = %s",
        (space.id,),
    )


def drop(connection: Connection, space: Space) -> None:
    """Remove a space that is not active: its tables, jobs, probes and cached queries.

    Raises:
        SpaceError: the space is active.
    """
    if space.state == "active":
        raise SpaceError(f"the space {space.name!r} is active; activate another one first")
    with connection.transaction():
        connection.execute("DELETE FROM embedding_spaces WHERE id = %s", (space.id,))
        connection.execute("DELETE FROM ingest_jobs WHERE space_id = %s", (space.id,))
        for modality in MODALITIES:
            connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(space.table(modality)))
