"""What PostgreSQL may take for building an index: the memory the graph needs, the cores there are.

Asked of the server, since its machine need not be ours. It tells only those who may read its files
(superusers, members of ``pg_read_server_files``); for others its own settings stand.
"""

from dataclasses import dataclass

from psycopg import sql

from pipeline.postgres.connections import Connection, fetch_one
from pipeline.postgres.requirements import has_safe_parallel_build
from pipeline.spaces.space import Space

# Of a node in the graph while it is built, beside its vector and its neighbours (pgvector 0.8's
# HnswElementData with its lock and heap pointers, rounded up).
NODE_BYTES = 192
NEIGHBOUR_BYTES = 16
# An allocator's own share, guessed; tests/integration/test_build_resources.py has pgvector agree.
MARGIN = 1.2
# Of the memory that is free now; the rest is for the cache and for whoever searches meanwhile.
SHARE = 0.5


@dataclass(frozen=True, slots=True)
class BuildResources:
    """For one index; None: the server's own setting."""

    maintenance_work_mem: str | None = None
    workers: int | None = None


def build_resources(connection: Connection, space: Space, modality: str) -> BuildResources:
    """What building the index of that table should be given."""
    alone = not has_safe_parallel_build(connection)
    machine = _machine(connection)
    if machine is None:
        return BuildResources(workers=0 if alone else None)
    free, cores = machine
    wanted = int(MARGIN * _rows(connection, space, modality) * _bytes_per_row(space))
    (usual,) = fetch_one(
        connection.execute("SELECT pg_size_bytes(current_setting('maintenance_work_mem'))")
    )
    memory = min(wanted, int(SHARE * free))
    return BuildResources(
        maintenance_work_mem=f"{memory // 1024}kB" if memory > usual else None,
        # The process that asks for the index takes part.
        workers=0 if alone else max(0, cores - 1),
    )


def _bytes_per_row(space: Space) -> int:
    # 2 m neighbours on the ground, m on each higher level; 1 / (m - 1) of the nodes are there.
    neighbours = 2 * space.hnsw_m + 2
    return space.key_bytes + neighbours * NEIGHBOUR_BYTES + NODE_BYTES


def _rows(connection: Connection, space: Space, modality: str) -> int:
    (rows,) = fetch_one(
        connection.execute(sql.SQL("SELECT count(*) FROM {}").format(space.table(modality)))
    )
    return int(rows)


def _machine(connection: Connection) -> tuple[int, int] | None:
    """Bytes free and cores of the server's machine (or container); None where it does not tell."""
    row = connection.execute(
        "SELECT has_function_privilege('pg_read_file(text, bigint, bigint, boolean)', 'EXECUTE')"
    ).fetchone()
    if row is None or not row[0]:
        return None
    contents = fetch_one(
        connection.execute(
            """
        SELECT pg_read_file('/proc/meminfo', 0, 65536, true),
            pg_read_file('/sys/devices/system/cpu/online', 0, 4096, true),
            pg_read_file('/sys/fs/cgroup/memory.max', 0, 64, true),
            pg_read_file('/sys/fs/cgroup/memory.current', 0, 64, true)
        """
        )
    )
    meminfo, online, limit, used = contents
    if not meminfo or not online:  # no Linux
        return None
    kilobytes = {
        name: int(rest.split()[0])
        for name, _, rest in (line.partition(":") for line in meminfo.splitlines())
    }
    free = 1024 * kilobytes["MemAvailable"]
    if limit and used and limit.strip().isdigit():
        free = min(free, int(limit) - int(used))
    return max(0, free), _count(online)


def _count(ranges: str) -> int:
    """How many numbers there are in a list such as 0-3,8."""
    total = 0
    for part in ranges.strip().split(","):
        first, _, last = part.partition("-")
        total += int(last or first) - int(first) + 1
    return total
