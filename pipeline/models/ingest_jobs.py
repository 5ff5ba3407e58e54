"""The queue."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Index,
    Integer,
    SmallInteger,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from pipeline.models.base import Base


class IngestJob(Base):
    """The work to embed one source item into one space. A finished job is deleted."""

    __tablename__ = "ingest_jobs"
    __table_args__ = (
        CheckConstraint(
            "state IN ('pending', 'running', 'failed')", name="ingest_jobs_state_known"
        ),
        CheckConstraint(
            "(state = 'running') = (leased_until IS NOT NULL AND worker IS NOT NULL)",
            name="ingest_jobs_running_is_leased",
        ),
        CheckConstraint(
            "state <> 'failed' OR error_code IS NOT NULL", name="ingest_jobs_failed_has_code"
        ),
        Index(
            "ingest_jobs_pending",
            "space_id",
            "run_after",
            "source_id",
            postgresql_where=text("state = 'pending'"),
        ),
        Index(
            "ingest_jobs_running",
            "space_id",
            "source_id",
            postgresql_where=text("state = 'running'"),
        ),
        {
            "comment": "The queue: one job per space and source item; finished ones are deleted.",
        },
    )

    # No foreign keys: their per-row checks would double the time of a bulk load. The triggers on
    # source_items and the dropping of a space keep both ends true.
    space_id: Mapped[int] = mapped_column(
        Integer, primary_key=True, autoincrement=False, comment="The space to embed into."
    )
    source_id: Mapped[int] = mapped_column(
        BigInteger, primary_key=True, autoincrement=False, comment="The source item to embed."
    )
    state: Mapped[str] = mapped_column(
        server_default=text("'pending'"), comment="pending, running or failed."
    )
    attempts: Mapped[int] = mapped_column(
        SmallInteger, server_default=text("0"), comment="Claims so far; counted at the claim."
    )
    error_code: Mapped[str | None] = mapped_column(comment="Short code of the last failure.")
    error: Mapped[str | None] = mapped_column(comment="What happened and what to do.")
    run_after: Mapped[datetime] = mapped_column(
        server_default=func.now(), comment="Not to be claimed before."
    )
    leased_until: Mapped[datetime | None] = mapped_column(comment="When the claim lapses.")
    worker: Mapped[str | None] = mapped_column(comment="Who holds the claim.")
    version: Mapped[int] = mapped_column(
        BigInteger,
        server_default=text("nextval('ingest_job_versions')"),
        comment="Fence: never the same again once the source item has changed.",
    )
    content_changed: Mapped[bool] = mapped_column(
        server_default=text("false"),
        comment="Whether the row's content is another than its items are of; if it fails for good, "
        "they go.",
    )
