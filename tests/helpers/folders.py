"""Where the servers of the tests keep their data."""

import os
import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
ENOUGH = 4 * 2**30  # bytes; a whole run's server grows to about 1 GiB, and there is one a worker


def memory_folder() -> str | None:
    """Where files are kept in memory, if there is plenty; what ``dir=`` of tempfile takes.

    A database is made and dropped for most tests: some 300 files each, which a disk takes four
    times as long for.
    """
    if not MEMORY.is_dir() or os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        return None
    return str(MEMORY) if shutil.disk_usage(MEMORY).free > ENOUGH else None


def server_folder(purpose: str) -> Path:
    """A new folder for a server's data; not under pytest's own, which only its user can reach."""
    return Path(tempfile.mkdtemp(prefix=f"pipeline-{purpose}-", dir=memory_folder()))
