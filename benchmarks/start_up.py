"""`pipeline ingest --once` with nothing due: `python -m benchmarks.start_up`.

Seconds of the whole process, and whether torch was imported.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.harness import database, make_space

COMMAND = ["-m", "pipeline.cli", "ingest", "--once"]


def measure(rounds: int = 5) -> dict[str, Any]:
    with database() as url:
        make_space(url)
        environment = {**os.environ, "DATABASE_URL": url}
        seconds = []
        for _ in range(rounds):
            began = time.perf_counter()
            subprocess.run(
                [sys.executable, *COMMAND], env=environment, check=True, capture_output=True
            )
            seconds.append(time.perf_counter() - began)
        imports = subprocess.run(
            [sys.executable, "-X", "importtime", *COMMAND],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stderr
    modules = [line.rpartition("|")[2].strip() for line in imports.splitlines()]
    return {
        "seconds": round(statistics.median(seconds), 2),
        "of": [round(s, 2) for s in sorted(seconds)],
        "torch_imported": "torch" in modules,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    print(json.dumps(measure(parser.parse_args().rounds)))


if __name__ == "__main__":
    main()
