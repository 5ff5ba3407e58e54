"""Every table of docs/scaling.md in one go: `python -m benchmarks.scale --folder FOLDER`.

Each benchmark runs as its own command, one after the other, and keeps its data and its results in
a folder of its own below FOLDER, so whoever stops this goes on where it was; what has no folder
(`peers`) runs again. At full size (`make bench-scale`) it takes many hours on two cores;
`--reduced` (a part of `make bench`) some minutes: its ratios are those of small tables.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.harness import say

# The arguments of each: at full size, and reduced.
WITH_FOLDER = {
    "index_growth": (
        ["--rows", "20000", "200000", "1000000"],
        ["--rows", "2000", "--graphs", "16,64", "24,128", "--queries", "50"],
    ),
    "compact": (
        ["--rows", "20000", "100000", "1000000"],
        ["--rows", "2000", "--dimensions", "64", "--queries", "50"],
    ),
    "filters": (
        ["--rows", "1000000"],
        ["--rows", "2000", "--dimensions", "64", "--queries", "2"],
    ),
    "drift": (
        ["--rows", "200000"],
        ["--rows", "2000", "--dimensions", "64", "--days", "4", "--every", "2"],
    ),
    "partitions": (["--rows", "100000"], ["--rows", "4000", "--dimensions", "64"]),
}
WITHOUT = {
    "peers": (["--rows", "100000"], ["--rows", "2000", "--dimensions", "64", "--queries", "20"]),
}


def run(name: str, arguments: list[str]) -> bool:
    """Whether it ended well; what it prints is shown as it comes."""
    say(f"{name} {' '.join(arguments)} ...")
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *arguments], check=False)
    say(f"{name}: {time.perf_counter() - began:.0f} s, exit {done.returncode}")
    return done.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="data and results stay there")
    parser.add_argument("--reduced", action="store_true", help="minutes instead of a day")
    parser.add_argument("--only", nargs="+", choices=[*WITH_FOLDER, *WITHOUT])
    arguments = parser.parse_args()
    failed = []
    for name, sizes in (WITH_FOLDER | WITHOUT).items():
        if arguments.only and name not in arguments.only:
            continue
        size = sizes[arguments.reduced]
        kept = ["--folder", str(arguments.folder / name)] if name in WITH_FOLDER else []
        if not (run(name, [*kept, *size]) and (not kept or run(name, [*kept, *size, "--show"]))):
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
