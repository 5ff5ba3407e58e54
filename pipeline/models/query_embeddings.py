"""Query texts and their vectors."""

from datetime import datetime
from typing import Any

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    ForeignKey,
    Index,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from pipeline.models.base import Base


class QueryEmbedding(Base):
    """A query text and its vector: what ``text_embedding()`` reads and fills."""

    __tablename__ = "query_embeddings"
    __table_args__ = (
        Index("query_embeddings_last_used", "space_id", "last_used_at"),
        Index(
            "query_embeddings_requested",
            "space_id",
            "requested_at",
            postgresql_where=text("embedding IS NULL"),
        ),
        {"comment": "Query texts and their vectors, per space; filled on demand, bounded."},
    )

    space_id: Mapped[int] = mapped_column(
        ForeignKey(
            "embedding_spaces.id", name="query_embeddings_space_id_fkey", ondelete="CASCADE"
        ),
        primary_key=True,
        comment="The space.",
    )
    query_sha256: Mapped[bytes] = mapped_column(
        primary_key=True, comment="The key: query_key(query)."
    )
    query: Mapped[str] = mapped_column(comment="The query's text, as it was asked.")
    embedding: Mapped[Any | None] = mapped_column(
        HALFVEC(), comment="Its unit vector; null while somebody waits for it."
    )
    error: Mapped[str | None] = mapped_column(comment="Why it could not be embedded.")
    requested_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), comment="When it was first asked for."
    )
    embedded_at: Mapped[datetime | None] = mapped_column(comment="When the vector was written.")
    last_used_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), comment="When it was last asked for; the least recent goes."
    )
    claimed_until: Mapped[datetime | None] = mapped_column(
        comment="Until when a server works on it; then another one may."
    )
