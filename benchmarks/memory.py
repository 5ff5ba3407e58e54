"""Peak memory of a worker by the length of its queue: `python -m benchmarks.memory`.

Each run is a process of its own: references whose loaded bytes are 100 kB and whose prepared
pictures are those of a 224-pixel model, a free embedder, one worker. Printed is the peak resident
size (VmHWM) with the long queue against the short one.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.harness import FreeEmbedder, add_items, database, make_space, say
from benchmarks.overlap import Decoded, Loaded
from pipeline import spaces
from pipeline.database import connect
from pipeline.settings import Settings
from pipeline.worker import Worker


class PictureEmbedder(FreeEmbedder):
    def prepare_image(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        return np.zeros((3, 224, 224), dtype=np.uint8)


def load(reference: str) -> Loaded:
    data = reference.encode().ljust(100_000)
    return Loaded(data, hashlib.sha256(reference.encode()).digest(), {"size": len(data)})


def decode(data: bytes) -> Decoded:
    return Decoded(Image.new("RGB", (8, 8)))


def child(url: str) -> None:
    """One worker; prints its peak in kB."""
    with connect(url) as connection:
        space = spaces.get_space(connection, "free")
    settings = Settings.load(database_url=url)
    report = Worker(url, space, PictureEmbedder(table=1024), load, decode, settings).run()
    # Not getrusage: its peak begins with that of the process that started us.
    status = Path("/proc/self/status").read_text()
    peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"done": report.done, "peak_kb": int(peak), "seconds": report.seconds}))


def peak(rows: int) -> dict[str, Any]:
    with database() as url:
        make_space(url, active=False)
        add_items(url, "image", [f"https://example.org/{n}.jpg" for n in range(rows)])
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.memory", "--child", url],
            stdout=subprocess.PIPE,
            check=True,
        )
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["done"] == rows, report
    return report


def measure(short: int, long: int) -> dict[str, Any]:
    small, large = peak(short), peak(long)
    return {
        "rows": [short, long],
        "peak_mb": [round(small["peak_kb"] / 1024), round(large["peak_kb"] / 1024)],
        "ratio": round(large["peak_kb"] / small["peak_kb"], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", type=int, default=1000)
    parser.add_argument("--long", type=int, default=100_000)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child)
        return
    say(f"{arguments.short} and {arguments.long} references")
    print(json.dumps(measure(arguments.short, arguments.long)))


if __name__ == "__main__":
    main()
