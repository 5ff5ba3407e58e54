"""The database's defaults for HNSW: full LIMITs under filters, and enough candidates.

With pgvector's own defaults a filter of 1 % returns half a row for a LIMIT of 10 (measured, see
docs/decisions.md). Every session gets these without asking; any session may set others.
"""

from alembic import op
from sqlalchemy import text

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

DEFAULTS = {"hnsw.iterative_scan": "relaxed_order", "hnsw.ef_search": "100"}


def _alter(action: str) -> None:
    op.execute("SELECT '[1]'::vector")  # loads the library: the names are known, values checked
    database = op.get_bind().scalar(text("SELECT quote_ident(current_database())"))
    op.execute(text(f"ALTER DATABASE {database} {action}"))


def upgrade() -> None:
    for name, value in DEFAULTS.items():
        _alter(f"SET {name} = '{value}'")


def downgrade() -> None:
    for name in DEFAULTS:
        _alter(f"RESET {name}")
