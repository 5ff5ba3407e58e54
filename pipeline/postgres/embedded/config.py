"""How the embedded PostgreSQL is configured: for one laptop, and for its owner alone."""

import os
import shutil
from pathlib import Path

from pipeline.postgres.embedded.account import Account
from pipeline.postgres.embedded.home import Home

DATABASE = "pipeline"
SUPERUSER = "postgres"
CONFIG_FILE = "pipeline.conf"  # in the data folder; written once, so changes made there stay

_CONFIG = """\
# Written once, by `pipeline db start`, and included from postgresql.conf. Yours to change.
listen_addresses = ''            # the Unix socket only
unix_socket_permissions = 0700
max_connections = 100
shared_buffers = {shared_buffers}MB
effective_cache_size = {effective_cache_size}MB
maintenance_work_mem = {maintenance_work_mem}MB   # HNSW indexes are built in it
random_page_cost = 1.1           # solid state disks
max_wal_size = 2GB
fsync = on
autovacuum_naptime = 10s         # the queue's rows live for seconds; dead ones pile up for so long

logging_collector = on
log_directory = '../log'
log_filename = 'postgresql-%a.log'   # a week of them, each replaced a week later
log_rotation_age = 1d
log_rotation_size = 0
log_truncate_on_rotation = on
log_checkpoints = off
log_line_prefix = '%m [%p] '
"""

# The owner of the data, and root, as any role; nobody else, and nobody over the network.
_HBA = "local all all peer map=owner\n"


def write_config(data: Path, account: Account) -> None:
    """Configure a cluster that initdb has just made and that has never run."""
    memory = memory_bytes() // 2**20
    config = _CONFIG.format(
        shared_buffers=_between(32, memory // 16, 256),
        effective_cache_size=max(128, memory // 2),
        maintenance_work_mem=_between(64, memory // 16, 512),
    )
    names = dict.fromkeys(["root", account.name])
    ident = "".join(f"owner {_quoted(name)} all\n" for name in names)
    main = (data / "postgresql.conf").read_text()
    files = {
        CONFIG_FILE: config,
        "postgresql.conf": f"{main}\ninclude_if_exists = '{CONFIG_FILE}'\n",
        "pg_hba.conf": _HBA,
        "pg_ident.conf": ident,
    }
    for name, text in files.items():
        own_file(data / name, text, account)


def own_file(path: Path, text: str, account: Account) -> None:
    """A file of the server's own, for it alone, in the place of another."""
    path.unlink(missing_ok=True)  # as root never write through what another user may own
    with path.open("x") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
        if os.geteuid() == 0:
            os.fchown(file.fileno(), account.uid, account.gid)


def start_options(home: Home) -> list[str]:
    """What depends on the machine and on where the folder is, hence is said at every start."""
    options = ["-c", "port=5432"]  # part of the socket's name: what url() says
    options += ["-c", f'unix_socket_directories="{str(home.socket).replace(chr(34), chr(34) * 2)}"']
    if home.is_private:
        options += ["-c", "listen_addresses="]
    if not _roomy_shared_memory():
        # Docker's /dev/shm has 64 MB, and a parallel HNSW build takes maintenance_work_mem of it
        # ("could not resize shared memory segment"). System V segments do not lie in /dev/shm.
        options += ["-c", "dynamic_shared_memory_type=sysv"]
    return options


def memory_bytes() -> int:
    """The machine's memory, or the container's where that is less."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            found = min(found, int(Path("/sys/fs/cgroup", limit).read_text()))
        except (OSError, ValueError):  # not limited ("max"), or the other kind of cgroup
            continue
    return found


def _roomy_shared_memory() -> bool:
    try:
        return shutil.disk_usage("/dev/shm").total >= 2**30  # noqa: S108
    except OSError:
        return False


def _between(low: int, value: int, high: int) -> int:
    return max(low, min(value, high))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
