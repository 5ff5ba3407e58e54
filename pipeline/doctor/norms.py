"""Whether the vectors are unit vectors."""

from collections.abc import Iterator

from psycopg import sql

from pipeline.doctor.check import Check
from pipeline.postgres.connections import Connection, fetch_one
from pipeline.spaces import Space


def norms(connection: Connection, space: Space) -> Iterator[Check]:
    """A sample: the table's CHECK has tested every row, unless somebody took it off."""
    for modality in space.modalities:
        row = fetch_one(
            connection.execute(
                sql.SQL(
                    "SELECT count(*), count(*) FILTER (WHERE NOT {}) "
                    "FROM (SELECT embedding FROM {} AS i LIMIT 10000) AS sample"
                ).format(space.is_unit_vector, space.rows(modality))
            )
        )
        has_check = connection.execute(
            "SELECT 1 FROM pg_constraint WHERE conrelid = %s::regclass AND convalidated "
            "AND conname = %s",
            (space.table_name(modality), f"{space.table_name(modality)}_unit_vector"),
        ).fetchone()
        seen, wrong = row
        name = space.table_name(modality)
        if wrong:
            found = f"{wrong} of {seen} vectors are no unit vectors; they are embedded anew after"
            fix = "DELETE FROM {table} WHERE NOT {unit}"
        elif has_check is None:
            found = "the CHECK on unit vectors is gone"
            fix = "ALTER TABLE {table} ADD CONSTRAINT {check} CHECK ({unit})"
        else:
            yield Check(f"norms {modality}", True, f"unit vectors ({seen} looked at)")
            continue
        parts = {
            "table": sql.Identifier(name),
            "check": sql.Identifier(f"{name}_unit_vector"),
            "unit": space.is_unit_vector,
        }
        statement = sql.SQL(fix).format(**parts).as_string(connection)
        yield Check(f"norms {modality}", False, found, statement)
