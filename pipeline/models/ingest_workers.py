"""Workers at work, and what their stages did lately."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Double, ForeignKey, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from pipeline.models.base import Base


class IngestWorker(Base):
    """What the stages of a worker did lately: which of them holds up the others."""

    __tablename__ = "ingest_workers"
    __table_args__ = (
        CheckConstraint("jsonb_typeof(stages) = 'array'", name="ingest_workers_stages_is_array"),
        {
            "comment": "What the stages of workers did lately, as their heartbeats say; of an "
            "hour at most."
        },
    )

    worker: Mapped[str] = mapped_column(
        primary_key=True, comment="The worker, as ingest_jobs names it."
    )
    space_id: Mapped[int] = mapped_column(
        ForeignKey("embedding_spaces.id", name="ingest_workers_space_id_fkey", ondelete="CASCADE"),
        comment="The space that it fills.",
    )
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now(), comment="When it said so.")
    seconds: Mapped[float] = mapped_column(
        Double, comment="Of the time of which it spoke, until then."
    )
    stages: Mapped[list[Any]] = mapped_column(
        JSONB,
        comment="Of each stage the shares of that time in which it worked, and in which the others "
        "waited for it.",
    )
