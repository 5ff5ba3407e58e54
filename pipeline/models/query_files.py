"""Files that somebody searches by."""

import uuid
from datetime import datetime
from typing import Any

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import CheckConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from pipeline.models.base import Base


class QueryFile(Base):
    """A file that waits for its vector, or a vector that waits for whoever asked for it."""

    __tablename__ = "query_files"
    __table_args__ = (
        CheckConstraint(
            "content IS NULL OR embedding IS NULL AND error IS NULL",
            name="query_files_content_goes",
        ),
        {
            "comment": "Files that somebody searches by, while they wait for `pipeline serve`.",
            "prefixes": ["UNLOGGED"],
        },
    )

    id: Mapped[uuid.UUID] = mapped_column(
        primary_key=True,
        server_default=func.gen_random_uuid(),
        comment="By which whoever asked finds the answer.",
    )
    space_id: Mapped[int] = mapped_column(comment="The space.")
    content: Mapped[bytes | None] = mapped_column(comment="The file; null once it is answered.")
    bytes: Mapped[int] = mapped_column(comment="Its length.")
    embedding: Mapped[Any | None] = mapped_column(HALFVEC(), comment="Its unit vector.")
    error: Mapped[str | None] = mapped_column(comment="Why it could not be embedded.")
    asked_by: Mapped[str] = mapped_column(comment="The login that asked.")
    asked_from: Mapped[str] = mapped_column(comment="That login's address; empty: the Unix socket.")
    requested_at: Mapped[datetime] = mapped_column(server_default=func.now(), comment="When.")
    claimed_until: Mapped[datetime | None] = mapped_column(
        comment="Until when a server works on it; then another one may."
    )
