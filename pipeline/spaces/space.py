"""A space as other modules see it: a row of ``embedding_spaces``, and the names of its tables."""

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.rows import class_row

from pipeline import embedders, modalities
from pipeline.embedders.description import Description
from pipeline.errors import ModelError, SpaceError
from pipeline.postgres.connections import Connection

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")

_IS_UNIT_VECTOR = {
    "halfvec": sql.SQL("abs(l2_norm(embedding) - 1) < 0.01"),
    "vector": sql.SQL("abs(vector_norm(embedding) - 1) < 0.01"),
}


@dataclass(frozen=True)
class Space:
    """A row of ``embedding_spaces``, and its modalities.

    Attributes:
        modalities: those that it has tables for.
    """

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
    modalities: tuple[str, ...]
    hnsw_m: int
    hnsw_ef_construction: int
    ef_search: int
    created_at: datetime
    activated_at: datetime | None
    retired_at: datetime | None
    target_recall: float
    index_kind: str
    compact_dimensions: int | None
    compact_width: int | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "modalities", modalities.ordered(self.modalities))

    @property
    def derived(self) -> tuple[str, ...]:
        """Those that it embeds by the encoder of another one, and has no item of yet.

        As the view ``embedded_modalities`` has it, which a login that was granted the tables of an
        older release may not read.
        """
        return modalities.ordered(
            modality.name
            for modality in modalities.registered()
            if modality.derived_from is not None
            and modality.derived_from.name in self.modalities
            and modality.name not in self.modalities
        )

    @property
    def embeds(self) -> tuple[str, ...]:
        """Every modality whose source items it has jobs and items of."""
        return modalities.ordered((*self.modalities, *self.derived))

    def table_name(self, modality: str) -> str:
        """``multimodal_items_<modality>_s<id>``."""
        return f"multimodal_items_{modality}_s{self.id}"

    def table(self, modality: str) -> sql.Identifier:
        return sql.Identifier(self.table_name(modality))

    def rows(self, modality: str) -> sql.Composable:
        """What to read the items of a modality from, after FROM and with an alias of one's own.

        The active space's by way of ``multimodal_items``, where an analyst may and where row-level
        security is; others' tables are for those who may embed.
        """
        if self.state != "active":
            return self.table(modality)
        return sql.SQL("(SELECT * FROM multimodal_items WHERE modality = {})").format(
            sql.Literal(modality)
        )

    def index_name(self, modality: str) -> str:
        """The name of a table's HNSW index."""
        return f"{self.table_name(modality)}_embedding"

    @property
    def is_unit_vector(self) -> sql.SQL:
        """The condition that each table's CHECK holds: a zero vector would never be found."""
        return _IS_UNIT_VECTOR[self.vector_type]

    @property
    def column_type(self) -> sql.Composed:
        """Such as ``halfvec(512)``."""
        return sql.SQL("{}({})").format(
            sql.Identifier(self.vector_type), sql.Literal(self.dimensions)
        )

    @property
    def key(self) -> sql.Composable:
        """What the space's HNSW indexes are over, of halfvec where they are compact."""
        if self.compact_dimensions is None:
            return sql.Identifier("embedding")
        return sql.SQL("(subvector(compact, 1, {0})::halfvec({0}))").format(
            sql.Literal(self.compact_dimensions)
        )

    @property
    def key_type(self) -> sql.Composable:
        """Of what its HNSW indexes are over."""
        if self.compact_dimensions is None:
            return self.column_type
        return sql.SQL("halfvec({})").format(sql.Literal(self.compact_dimensions))

    @property
    def key_bytes(self) -> int:
        """Of the vector in a node of the index."""
        if self.compact_dimensions is not None:
            return 2 * self.compact_dimensions
        return self.dimensions * (2 if self.vector_type == "halfvec" else 4)

    @property
    def operators(self) -> sql.Identifier:
        """The operator class of the space's HNSW indexes."""
        kind = self.vector_type if self.compact_dimensions is None else "halfvec"
        return sql.Identifier(f"{kind}_cosine_ops")

    def with_index(self, kind: str, compact_dimensions: int | None) -> "Space":
        """The same space, as if its indexes were over that."""
        return replace(self, index_kind=kind, compact_dimensions=compact_dimensions)


_COLUMNS = sql.SQL(
    "id, name, state, model, dimensions, vector_type, precision, context_length, fingerprint, "
    "description, ARRAY(SELECT modality FROM space_modalities AS m "
    "WHERE m.space_id = embedding_spaces.id) AS modalities, "
    "hnsw_m, hnsw_ef_construction, ef_search, created_at, activated_at, retired_at, "
    "target_recall, index_kind, compact_dimensions, compact_width"
)


def _select(connection: Connection, condition: str = "true", *values: Any) -> list[Space]:
    query = sql.SQL("SELECT {} FROM embedding_spaces WHERE {} ORDER BY id").format(
        _COLUMNS,
        sql.SQL(condition),
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


def find_space(connection: Connection, name: str | None) -> Space:
    """The named space, else the active one. Raises SpaceError."""
    return get_space(connection, name) if name else active_space(connection)


def name_for(model: str) -> str:
    """A plain name: ``ViT-B-32/laion2b_s34b_b79k`` -> ``vit_b_32_laion2b_s34b_b79k``."""
    slug = re.sub(r"[^a-z0-9]+", "_", model.lower().rstrip("/")).strip("_")
    slug = slug[-40:].lstrip("_0123456789") if len(slug) > 40 else slug
    return slug if NAME.fullmatch(slug) else f"space_{slug}"[:40].rstrip("_")


def check_row(space: Space) -> Description:
    """What the space says of its model, if the row agrees with itself.

    Looked at before anything that it names is opened: who may change a row of ``embedding_spaces``
    is not who says which folders a worker reads.

    Raises:
        ModelError: model, description and fingerprint do not belong together, or the description
            is of another release.
    """
    stored = _described(space)
    if (stored.model, stored.fingerprint()) != (space.model, space.fingerprint):
        raise ModelError(
            f"the space {space.name!r} was changed by hand: its model {space.model!r}, its "
            "description and its fingerprint do not agree, so nothing of the model is opened; put "
            "embedding_spaces right (docs/spaces.md), or build a new space with "
            "`pipeline space create`"
        )
    return stored


def check_model(space: Space, description: Description) -> None:
    """Refuse a model that is not the one the space was created with.

    Raises:
        ModelError: naming every field that differs, as ``field: the space's != this one's``.
    """
    if description.fingerprint() == space.fingerprint:
        return
    differences = "; ".join(_described(space).differences(description)) or "the fingerprint"
    raise ModelError(
        f"this model is not the one of the space {space.name!r} ({differences}); use the space's "
        "own model, or build a new space for this one with `pipeline space create`"
    )


def _described(space: Space) -> Description:
    try:
        return embedders.described(space.description)
    except ModelError as exc:  # written by another version of the pipeline
        raise ModelError(
            f"the space {space.name!r} was described by another version of the pipeline ({exc}); "
            "upgrade this one, or build a new space with `pipeline space create`"
        ) from exc
