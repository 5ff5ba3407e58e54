"""Query texts and their vectors."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Index,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from pipeline.models.base import Base
from pipeline.models.embedding import Embedding


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
        Index(
            "query_embeddings_waiting",
            "space_id",
            "asked_by",
            "asked_from",
            "requested_at",
            postgresql_where=text("embedding IS NULL AND error IS NULL"),
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
        Embedding(), comment="Its unit vector; null while somebody waits for it."
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
    asked_by: Mapped[str] = mapped_column(
        server_default=text("''"),
        comment="While it waits: the login that asked; empty afterwards.",
    )
    asked_from: Mapped[str] = mapped_column(
        server_default=text("''"),
        comment="While it waits: that login's address; empty: the Unix socket, or afterwards.",
    )


class RunningServer(Base):
    """A ``pipeline serve``, as long as it runs."""

    __tablename__ = "query_servers"
    __table_args__ = ({"comment": "Each `pipeline serve`, as long as it runs."},)

    space_id: Mapped[int] = mapped_column(
        ForeignKey("embedding_spaces.id", name="query_servers_space_id_fkey", ondelete="CASCADE"),
        comment="The space whose model it has.",
    )
    pid: Mapped[int] = mapped_column(
        primary_key=True, comment="Process of its session in this server."
    )
    lock_key: Mapped[int] = mapped_column(
        primary_key=True, comment="Number of the advisory lock that it holds while it runs."
    )
    asker_limit: Mapped[int] = mapped_column(
        comment="How many texts of one login at one address may wait."
    )
    queue_limit: Mapped[int] = mapped_column(comment="How many texts may wait in all.")
    started_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), comment="When it was ready."
    )
    seen_at: Mapped[datetime | None] = mapped_column(
        comment="Of one behind a pooler, where no lock lasts: when it last said that it runs."
    )
    file_limit: Mapped[int | None] = mapped_column(
        BigInteger, comment="Most bytes of a file that is a query; null: it answers none."
    )
    file_queue_limit: Mapped[int | None] = mapped_column(
        BigInteger, comment="Most bytes of such files that may wait in all."
    )
