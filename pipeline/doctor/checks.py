"""Everything that can be wrong with a database of ours, each with the command that mends it.

Read-only, and quick on large tables: norms are taken of a sample, counts where a count is needed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from psycopg import sql

from pipeline import embedders, spaces
from pipeline.embedders import PRECISION_FLOOR
from pipeline.errors import ConfigurationError, DatabaseError, ModelError, PipelineError
from pipeline.postgres import migrate, schema
from pipeline.postgres.connections import Connection
from pipeline.postgres.database import Database
from pipeline.postgres.requirements import check_server
from pipeline.queue import claims, status
from pipeline.settings import Settings
from pipeline.spaces import Space, probes
from pipeline.spaces.opening import load_model

# Statistics are stale when so large a share of the items came or went since they were taken.
STALE = 0.2
# So many dead rows slow every search down: HNSW walks over them until a vacuum.
DEAD = 0.2


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. ``fix`` is a command or a statement; empty where all is well."""

    name: str
    ok: bool
    found: str
    fix: str = ""


def examine(settings: Settings, *, model: bool = False) -> list[Check]:
    """Every check that makes sense; one that cannot be made keeps those after it from running.

    Args:
        model: whether to load the active space's model and check what it computes here, too.
    """
    database = Database.of(settings)
    try:
        connection = database.connect("pipeline doctor")
    except DatabaseError as exc:
        return [Check("server", False, str(exc))]
    with connection:
        results = [_server(connection)]
        if results[0].ok:
            results.append(_migrations(database.url))
        if results[-1].ok:
            results.append(_installed_sql(connection))
        if not results[-1].ok:
            return results
        results += _settings_of_database(connection)
        active = spaces.find_active(connection)
        if active is None:
            found = Check("space", False, "no space is active", "pipeline migrate")
            return [*results, found]
        results.append(Check("space", True, f"{active.name} is active ({active.model})"))
        results += _unsupported(connection)
        for examine_space in CHECKS:
            results += examine_space(connection, active)
        if model:
            results += _model(connection, active, settings.device)
        return results


def _server(connection: Connection) -> Check:
    try:
        check_server(connection)
    except PipelineError as exc:
        return Check("server", False, str(exc))
    row = connection.execute(
        "SELECT current_setting('server_version'), "
        "(SELECT extversion FROM pg_extension WHERE extname = 'vector')"
    ).fetchone()
    assert row is not None
    return Check("server", True, f"PostgreSQL {row[0]}, pgvector {row[1] or 'not installed yet'}")


def _migrations(url: str) -> Check:
    at, head = migrate.current(url)
    if at == head:
        return Check("migrations", True, f"at {head}")
    return Check("migrations", False, f"at {at or 'none'}, newest is {head}", "pipeline migrate")


def _installed_sql(connection: Connection) -> Check:
    """Whether functions, triggers and views are those of this release."""
    if schema.is_current(connection):
        return Check("installed SQL", True, "functions, triggers and views of this release")
    return Check(
        "installed SQL",
        False,
        "the functions, triggers and views are not those of this release",
        "pipeline migrate",
    )


def _unsupported(connection: Connection) -> Iterator[Check]:
    """Rows that wait for a space that is not there: no job is made for them."""
    for row in status.unsupported(connection):
        delete = sql.SQL("DELETE FROM source_items WHERE modality = {}").format(
            sql.Literal(row.modality)
        )
        yield Check(
            f"unsupported {row.modality}",
            False,
            f"{row.source_items} source items that no space in use can embed",
            f"pipeline space create NAME --model MODEL, of a model that has {row.modality}; or "
            f"{delete.as_string(connection)}",
        )


def _settings_of_database(connection: Connection) -> Iterator[Check]:
    connection.execute("SELECT '[1]'::vector")  # loads the library, which defines the settings
    for name, wanted in {"hnsw.iterative_scan": "relaxed_order", "hnsw.ef_search": "100"}.items():
        row = connection.execute(
            "SELECT setting, source FROM pg_settings WHERE name = %s", (name,)
        ).fetchone()
        setting = row[0] if row else "unknown"
        ok = setting != "off" if name == "hnsw.iterative_scan" else int(setting) >= 100
        statement = sql.SQL("ALTER DATABASE {} SET {} = {}").format(
            sql.Identifier(connection.info.dbname),
            sql.Identifier(*name.split(".")),
            sql.Literal(wanted),
        )
        yield Check(name, ok, setting, "" if ok else statement.as_string(connection))


def _index(connection: Connection, space: Space) -> Iterator[Check]:
    for modality in space.modalities:
        name = f"index {modality}"
        valid = spaces.index_is_valid(connection, space, modality)
        build = f"pipeline space build --no-embed {space.name}"
        if not valid:
            yield Check(name, False, "missing" if valid is None else "broken", build)
            continue
        if spaces.is_empty(connection, space, modality):
            yield Check(name, True, "valid; no items yet")
            continue
        used = _is_used(connection, space, modality)
        row = connection.execute(
            "SELECT pg_relation_size(to_regclass(%s)), pg_size_bytes(current_setting("
            "'shared_buffers'))",
            (space.index_name(modality),),
        ).fetchone()
        assert row is not None
        size, buffers = row
        shown = f"valid, {size / 2**20:.0f} MB of {buffers / 2**20:.0f} MB shared_buffers"
        if not used:
            yield Check(
                name,
                False,
                f"{shown}, but a search would not use it",
                f"ANALYZE {space.table_name(modality)}",
            )
        elif size > buffers:
            needed = 2 ** (int(size / 2**30).bit_length())
            yield Check(
                name,
                False,
                f"{shown}: it does not fit, so searches read from disk",
                f"ALTER SYSTEM SET shared_buffers = '{needed}GB', then restart the server",
            )
        else:
            yield Check(name, True, shown + ", used")


def _is_used(connection: Connection, space: Space, modality: str) -> bool:
    """Whether the planner can serve a search of the table that everybody queries with it."""
    with connection.transaction():
        # A table of a few rows is rightly scanned; the question is whether the index could serve.
        connection.execute("SET LOCAL enable_seqscan = off")
        connection.execute("SET LOCAL enable_sort = off")
        plan = connection.execute(
            sql.SQL(
                "EXPLAIN SELECT id FROM multimodal_items WHERE modality = {} ORDER BY embedding "
                "<=> (SELECT embedding FROM {} LIMIT 1) LIMIT 10"
            ).format(sql.Literal(modality), space.table(modality))
        ).fetchall()
    return any(space.index_name(modality) in line for (line,) in plan)


def _norms(connection: Connection, space: Space) -> Iterator[Check]:
    """A sample: the table's CHECK has tested every row, unless somebody took it off."""
    for modality in space.modalities:
        row = connection.execute(
            sql.SQL(
                "SELECT count(*), count(*) FILTER (WHERE NOT {}) "
                "FROM (SELECT embedding FROM {} LIMIT 10000) AS sample"
            ).format(space.is_unit_vector, space.table(modality))
        ).fetchone()
        has_check = connection.execute(
            "SELECT 1 FROM pg_constraint WHERE conrelid = %s::regclass AND convalidated "
            "AND conname = %s",
            (space.table_name(modality), f"{space.table_name(modality)}_unit_vector"),
        ).fetchone()
        assert row is not None
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


def _coverage(connection: Connection, space: Space) -> Iterator[Check]:
    found = spaces.coverage(connection, space)
    counts = claims.counts(connection, space.id)
    if found.lost:
        fix = f"pipeline space build {space.name}"
    elif found.pending:
        fix = "pipeline ingest --once"
    elif counts.failed:
        fix = "pipeline failures, then pipeline retry"
    else:
        fix = ""
    failed = f", {counts.failed} failed" if counts.failed else ""
    yield Check("coverage", not fix, f"{found}{failed}", fix)


def _statistics(connection: Connection, space: Space) -> Iterator[Check]:
    rows = connection.execute(
        "SELECT modality, item_count, mean IS NOT NULL, measured_at FROM space_modalities "
        "WHERE space_id = %s ORDER BY modality",
        (space.id,),
    ).fetchall()
    for modality, known, has_mean, measured_at in rows:
        row = connection.execute(
            sql.SQL("SELECT count(*) FROM {}").format(space.table(modality))
        ).fetchone()
        assert row is not None
        items = int(row[0])
        stale = abs(items - known) > STALE * items or (items > 0 and not has_mean)
        yield Check(
            f"statistics {modality}",
            not stale,
            f"of {known} items, now {items}; "
            + (f"taken {measured_at:%Y-%m-%d %H:%M}" if measured_at else "never taken"),
            "SELECT * FROM refresh_space_statistics()" if stale else "",
        )


def _probes(connection: Connection, space: Space) -> Iterator[Check]:
    row = connection.execute(
        "SELECT count(*), coalesce(bool_and(cardinality(embedding) = %s), true) "
        "FROM space_probes WHERE space_id = %s",
        (space.dimensions, space.id),
    ).fetchone()
    assert row is not None
    count, right_size = row
    if not count:
        # The next worker stores them; that needs the model.
        yield Check("probes", False, "none stored", f"pipeline ingest --once --space {space.name}")
    else:
        yield Check(
            "probes",
            bool(right_size),
            f"{count} stored" if right_size else "of other dimensions than the space",
            "" if right_size else f"pipeline space drop {space.name}, and build it anew",
        )


def _dead_rows(connection: Connection, space: Space) -> Iterator[Check]:
    names = [space.table_name(modality) for modality in space.modalities] + ["ingest_jobs"]
    rows = connection.execute(
        "SELECT relname, n_dead_tup, n_live_tup FROM pg_stat_user_tables WHERE relid = ANY "
        "(SELECT to_regclass(n) FROM unnest(%s::text[]) AS n) ORDER BY relname",
        (names,),
    ).fetchall()
    for name, dead, live in rows:
        # The queue's rows live for seconds; what a run leaves behind goes with the next
        # autovacuum, within a minute. Only what it does not keep up with is a finding.
        bad = dead > (100_000 if name == "ingest_jobs" else 1000) and dead > DEAD * live
        shown = f"{dead} of {dead + live} rows"
        yield Check(f"dead rows {name}", not bad, shown, f"VACUUM {name}" if bad else "")


def _model(connection: Connection, space: Space, device: str) -> Iterator[Check]:
    """Whether the model gives the space's vectors on this machine, in a precision it bears."""
    anew = f"pipeline space create NAME --model {space.model}"
    try:
        embedder = load_model(space, device=device)
    except (ModelError, ConfigurationError) as exc:
        yield Check("model", False, str(exc))
        return
    cosines = probes.compare(connection, space, embedder)
    if cosines:  # none stored is what _probes finds
        least, floor = min(cosines)[0], probes.floor_of(space)
        yield Check(
            "model probes",
            least >= floor,
            f"{len(cosines)} embedded again, the least cosine is {least:.6f} of at least {floor}",
            "" if least >= floor else f"bring back what changed in model or libraries, or {anew}",
        )
    family = embedders.family_of(space.description)
    cosine = family.cosine_to_float32(space.model, space.precision, device=device)
    yield Check(
        "model precision",
        cosine >= PRECISION_FLOOR,
        f"{space.precision} has a cosine of {cosine:.6f} to float32, of at least {PRECISION_FLOOR}",
        "" if cosine >= PRECISION_FLOOR else f"{anew} --precision float32",
    )


CHECKS: tuple[Callable[[Connection, Space], Iterator[Check]], ...] = (
    _index,
    _norms,
    _coverage,
    _statistics,
    _probes,
    _dead_rows,
)
