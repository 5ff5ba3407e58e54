"""Runs of ingestion that ended."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Double,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column

from pipeline.models.base import Base


class IngestRun(Base):
    """What a run of ingestion did, and how it ended."""

    __tablename__ = "ingest_runs"
    __table_args__ = (
        CheckConstraint("began_at <= ended_at", name="ingest_runs_began_before_it_ended"),
        CheckConstraint("error IS NULL OR exit_code <> 0", name="ingest_runs_error_has_code"),
        Index("ingest_runs_ended", "ended_at"),
        {
            "comment": "Reports of runs of ingestion that had something to do; one that was killed "
            "left none."
        },
    )

    id: Mapped[int] = mapped_column(
        BigInteger, Identity(always=True), primary_key=True, comment="Number of the report."
    )
    space_id: Mapped[int] = mapped_column(
        ForeignKey("embedding_spaces.id", name="ingest_runs_space_id_fkey", ondelete="CASCADE"),
        comment="The space that was filled.",
    )
    began_at: Mapped[datetime] = mapped_column(
        comment="When it began, before the model was loaded."
    )
    ended_at: Mapped[datetime] = mapped_column(server_default=func.now(), comment="When it ended.")
    worker: Mapped[str | None] = mapped_column(
        comment="The worker, as ingest_jobs names it; null: the run ended before there was one."
    )
    done: Mapped[int] = mapped_column(BigInteger, comment="Source items embedded.")
    failed: Mapped[int] = mapped_column(BigInteger, comment="Source items that failed for good.")
    retrying: Mapped[int] = mapped_column(
        BigInteger, comment="Those that waited for another attempt."
    )
    items: Mapped[int] = mapped_column(BigInteger, comment="Items written.")
    reused: Mapped[int] = mapped_column(
        BigInteger, comment="Of these, whose vector was there already."
    )
    seconds: Mapped[float] = mapped_column(
        Double, comment="Of the worker, once the model was loaded."
    )
    exit_code: Mapped[int] = mapped_column(
        SmallInteger,
        comment="0: done, or told to stop; 1: rows or the run failed; 75: try again later.",
    )
    stopped: Mapped[bool] = mapped_column(comment="Whether it was told to stop.")
    error: Mapped[str | None] = mapped_column(
        comment="The kind of error that ended it, whose words are in its log; null: none did."
    )
