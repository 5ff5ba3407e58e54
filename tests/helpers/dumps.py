"""``pg_dump`` and ``pg_restore``, of the embedded server's programs."""

import os
import subprocess
from pathlib import Path

from pipeline.postgres.embedded import EmbeddedServer
from pipeline.postgres.urls import libpq_url


def dump(server: EmbeddedServer, url: str, file: Path, *options: str) -> None:
    """A database, or what the options name of it, into a file."""
    _run(server, "pg_dump", "--format=custom", f"--file={file}", f"--dbname={url}", *options)


def restore(server: EmbeddedServer, file: Path, url: str, *options: str) -> None:
    """Into an empty database; any error fails."""
    _run(server, "pg_restore", "--exit-on-error", f"--dbname={url}", *options, str(file))


def _run(server: EmbeddedServer, program: str, *arguments: str) -> None:
    arguments = tuple(
        f"--dbname={libpq_url(a.removeprefix('--dbname='))}" if a.startswith("--dbname=") else a
        for a in arguments
    )
    done = subprocess.run(
        [server.binary(program), *arguments],
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
