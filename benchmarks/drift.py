"""What a steady change does to an HNSW index: `python -m benchmarks.drift --folder FOLDER`.

Each simulated day 1 % of the rows get another vector (`tests/helpers/power_law.py`), as ingestion
writes it. Measured are recall@10 at the ``ef_search`` that was right on the first day, the index's
size, its dead rows and the processor's time of a search; without VACUUM, with one a day, and after
what mends it: VACUUM, REINDEX CONCURRENTLY (what ``pipeline space reindex`` does, with a swap).
Each course is written to a file when it is done and left out by the next run; ``--show`` prints the
table of docs/scaling.md.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from psycopg import sql

from benchmarks.copying import END, HEADER, packed
from benchmarks.harness import say
from benchmarks.index_growth import K, database, processor_seconds, search, stored
from pipeline.postgres.connections import Connection, fetch_one
from pipeline.vectors import Vectors
from tests.helpers.power_law import PowerLaw

SHARE = 0.01  # of the rows, a day
TARGET = 0.95
STEPS = (20, 40, 60, 80, 100, 150, 200, 300, 400, 600, 800, 1000)
# After how many days a VACUUM comes; autovacuum's default is after 20.
COURSES = {"no VACUUM": 0, "VACUUM every 10 days": 10, "VACUUM each day": 1}
TABLE = sql.Identifier("changing")


class Course:
    """One table that changes, beside what NumPy says is in it."""

    def __init__(self, connection: Connection, made: PowerLaw, rows: int, days: int) -> None:
        self._connection = connection
        changed = max(1, int(rows * SHARE))
        drawn = np.concatenate(list(made.images(rows + changed * days)))
        self.vectors: Vectors = drawn[:rows].copy()
        self._new = drawn[rows:].reshape(days, changed, -1)
        self._random = np.random.default_rng(5)
        self._queries: Vectors = stored(made.queries(200))
        self.ef_search = STEPS[-1]
        self.vacuum_cpu_seconds = self.build_cpu_seconds = 0.0

    def create(self, m: int, ef_construction: int) -> None:
        self._connection.execute("DROP TABLE IF EXISTS changing, fresh")
        self._connection.execute(
            sql.SQL(
                "CREATE TABLE changing (id integer PRIMARY KEY, embedding halfvec({0})) "
                "WITH (autovacuum_enabled = off, fillfactor = 90); "
                "ALTER TABLE changing ALTER embedding SET STORAGE PLAIN; "
                "CREATE TABLE fresh (id integer, embedding halfvec({0}))"
            ).format(sql.Literal(self.vectors.shape[1]))
        )
        self._copy("changing", np.arange(len(self.vectors)), self.vectors)
        before = processor_seconds(self._connection)
        self._connection.execute("SET max_parallel_maintenance_workers = 0")
        self._connection.execute(
            sql.SQL(
                "CREATE INDEX graph ON changing USING hnsw (embedding halfvec_cosine_ops) "
                "WITH (m = {}, ef_construction = {})"
            ).format(sql.Literal(m), sql.Literal(ef_construction))
        )
        self.build_cpu_seconds = processor_seconds(self._connection) - before
        self._connection.execute("VACUUM ANALYZE changing")
        for step in STEPS:
            self.ef_search = step
            if self.search()["recall"] >= TARGET:
                break

    def a_day(self, day: int) -> None:
        """1 % of the rows, chosen anew each day, get vectors that nobody has had."""
        vectors = self._new[day - 1]
        ids = self._random.choice(len(self.vectors), len(vectors), replace=False)
        self._connection.execute("TRUNCATE fresh")
        self._copy("fresh", ids, vectors)
        self._connection.execute(
            "UPDATE changing AS c SET embedding = f.embedding FROM fresh AS f WHERE c.id = f.id"
        )
        self.vectors[ids] = vectors

    def vacuum(self) -> None:
        """Of the index as well; adds what it takes to ``vacuum_cpu_seconds``."""
        before = processor_seconds(self._connection)
        self._connection.execute("VACUUM (INDEX_CLEANUP on) changing")
        self.vacuum_cpu_seconds += processor_seconds(self._connection) - before

    def search(self) -> dict[str, float]:
        nearest = np.argpartition(-(self._queries @ stored(self.vectors).T), K, axis=1)[:, :K]
        expected = [set(row.tolist()) for row in nearest]
        return search(self._connection, TABLE, self._queries, expected, self.ef_search)

    def measured(self, when: str) -> dict[str, Any]:
        self._connection.execute("SELECT pg_stat_force_next_flush()")
        size, dead = fetch_one(
            self._connection.execute(
                "SELECT pg_relation_size('graph'), pg_stat_get_dead_tuples('changing'::regclass)"
            )
        )
        found = {
            "when": when,
            "index_mb": round(size / 2**20, 1),
            "dead": dead,
            "vacuum_cpu_seconds": round(self.vacuum_cpu_seconds, 1),
            **self.search(),
        }
        print(json.dumps(found), flush=True)
        return found

    def _copy(self, table: str, ids: Any, vectors: Vectors) -> None:
        copy_in = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(sql.Identifier(table))
        with self._connection.cursor().copy(copy_in) as copy:
            copy.write(HEADER + packed(ids, vectors) + END)


def run(connection: Connection, name: str, wanted: argparse.Namespace) -> dict[str, Any]:
    """One course from the first day to the last, and what mends it."""
    say(f"{name}: {wanted.rows:,} rows of {wanted.dimensions} dimensions")
    course = Course(connection, PowerLaw(wanted.dimensions), wanted.rows, wanted.days)
    course.create(wanted.m, wanted.ef_construction)
    seen = [course.measured("day 0")]
    for day in range(1, wanted.days + 1):
        course.a_day(day)
        if COURSES[name] and day % COURSES[name] == 0:
            course.vacuum()
        if day % wanted.every == 0 or day == wanted.days:
            seen.append(course.measured(f"day {day}"))
    course.vacuum()
    seen.append(course.measured("VACUUM"))
    connection.execute("REINDEX INDEX CONCURRENTLY graph")
    seen.append(course.measured("REINDEX CONCURRENTLY"))
    return {
        "course": name,
        "rows": wanted.rows,
        "ef_search": course.ef_search,
        "build_cpu_seconds": round(course.build_cpu_seconds, 1),
        "seen": seen,
    }


def show(courses: Sequence[dict[str, Any]]) -> None:
    """The table of docs/scaling.md: the processor's time of a search as a multiple of the first
    day's, that of all VACUUMs until then as one of the index's build."""
    print("| course | rows | ef_search | when | dead rows | index | recall | a search | VACUUM |")
    print("|---|---|---|---|---|---|---|---|---|")
    for course in courses:
        first = course["seen"][0]
        for seen in course["seen"]:
            print(
                f"| {course['course']} | {course['rows']:,} | {course['ef_search']} "
                f"| {seen['when']} | {seen['dead']:,} | {seen['index_mb']} MB "
                f"| {seen['recall']:.3f} | {seen['cpu_ms'] / first['cpu_ms']:.2f} "
                f"| {seen['vacuum_cpu_seconds'] / course['build_cpu_seconds']:.2f} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="data and results stay there")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dimensions", type=int, default=192)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--every", type=int, default=10, help="measure after so many days")
    parser.add_argument("--courses", nargs="+", choices=COURSES, default=list(COURSES))
    parser.add_argument("--m", type=int, default=24)
    parser.add_argument("--ef-construction", type=int, default=128)
    parser.add_argument("--show", action="store_true", help="print what is measured, and end")
    wanted = parser.parse_args()
    wanted.folder.mkdir(parents=True, exist_ok=True)
    wanted.folder.chmod(0o755)
    results = wanted.folder / "courses.jsonl"
    lines = results.read_text().splitlines() if results.exists() else []
    courses = [json.loads(line) for line in lines]
    if wanted.show:
        show(courses)
        return
    done = {(course["course"], course["rows"]) for course in courses}
    with database(wanted.folder) as connection:
        for name in wanted.courses:
            if (name, wanted.rows) not in done:
                course = run(connection, name, wanted)
                with results.open("a") as file:
                    file.write(json.dumps(course) + "\n")


if __name__ == "__main__":
    main()
