"""Whether the statistics for calibrated ranking are fresh."""

from collections.abc import Iterator

from psycopg import sql

from pipeline.doctor.check import Check
from pipeline.postgres.connections import Connection, fetch_one
from pipeline.spaces import Space

# They are stale when so large a share of the items came or went since they were taken.
STALE = 0.2


def statistics(connection: Connection, space: Space) -> Iterator[Check]:
    rows = connection.execute(
        "SELECT modality, item_count, mean IS NOT NULL, measured_at FROM space_modalities "
        "WHERE space_id = %s ORDER BY modality",
        (space.id,),
    ).fetchall()
    for modality, known, has_mean, measured_at in rows:
        row = fetch_one(
            connection.execute(sql.SQL("SELECT count(*) FROM {} AS i").format(space.rows(modality)))
        )
        items = int(row[0])
        stale = abs(items - known) > STALE * items or (items > 0 and not has_mean)
        yield Check(
            f"statistics {modality}",
            not stale,
            f"of {known} items, now {items}; "
            + (f"taken {measured_at:%Y-%m-%d %H:%M}" if measured_at else "never taken"),
            "SELECT * FROM refresh_space_statistics()" if stale else "",
        )
