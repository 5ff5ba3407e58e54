"""A running `pipeline web`, for the benchmarks of its pages."""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil


@contextlib.contextmanager
def running_web(
    folder: Path, url: str, *, until: str = "pages at"
) -> Iterator[tuple[str, psutil.Process]]:
    """Its URL, once it has said ``until``, and its process; its cache and log are in the folder."""
    log = folder / "web.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", "web", "--port", "0"],
            env={**os.environ, "DATABASE_URL": url, "XDG_CACHE_HOME": str(folder)},
            stderr=stderr,
        )
    try:
        said = ""
        while until not in said or (found := re.search(r"pages at (\S+);", said)) is None:
            if process.poll() is not None:
                raise SystemExit(log.read_text())
            time.sleep(0.1)
            said = log.read_text()
        yield found[1], psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()
