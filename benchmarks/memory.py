"""Peak memory of a worker by the length of its queue: `python -m benchmarks.memory`.

Each run is a process of its own: references whose loaded bytes are 100 kB and whose prepared
images are those of a 224-pixel model, an embedder that costs nothing, one worker. Printed is the
peak resident size (VmHWM) with the long queue against the short one. ``--batch-ms`` makes the
embedder wait, so that its input gathers before it. ``--command`` runs `pipeline ingest` itself
instead, with the demonstration's model on as many JPEG files, and counts its decoders as well.
``--texts N`` puts N texts of ``--text-mb`` each into the queue instead, all of which fail: the
figure is what they cost until then. ``--max-text-mb`` is the cap on one of them.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.harness import (
    FreeEmbedder,
    FreeImages,
    FreeTexts,
    add_items,
    database,
    ingest_command,
    make_space,
    say,
    work,
)
from pipeline import spaces
from pipeline.cli.allocator import keep_freed_memory
from pipeline.demo.manifest import MODEL
from pipeline.errors import PermanentRowError
from pipeline.loaders import LoadedContent
from pipeline.modalities.text.windows import TextWindow
from pipeline.postgres.connections import connect

# How often the sizes of the command's processes are read.
SAMPLE_SECONDS = 0.05


def load(reference: str) -> LoadedContent:
    data = reference.encode().ljust(100_000)
    return LoadedContent(data, hashlib.sha256(reference.encode()).digest(), {"size": len(data)})


def peak_kb(pid: int | str = "self") -> int:
    """A process's peak so far; not getrusage's, which begins with that of whoever started it."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def child(url: str, batch_ms: float) -> None:
    """One worker; prints its peak in kB."""
    keep_freed_memory()  # as the command does
    with connect(url) as connection:
        space = spaces.get_space(connection, "free")
    embedder = FreeEmbedder(table=1024)
    embedder.encoders["image"] = FreeImages(embedder, batch_ms / 1000, side=224)
    report = work(url, space, embedder, load)
    print(json.dumps({"done": report.done, "peak_kb": peak_kb()}))


class NoLongTexts(FreeTexts):
    """As a model whose context a text of megabytes does not fit into."""

    def split(self, text: str, overlap: int, max_windows: int) -> list[TextWindow]:
        raise PermanentRowError("too_many_windows", f"{len(text)} characters")


def child_of_texts(url: str, max_text_bytes: int) -> None:
    """One worker on long texts; prints its peak in kB."""
    keep_freed_memory()
    with connect(url) as connection:
        space = spaces.get_space(connection, "free")
    embedder = FreeEmbedder(table=1024)
    embedder.encoders["text"] = NoLongTexts(embedder)
    report = work(url, space, embedder, max_text_bytes=max_text_bytes)
    print(json.dumps({"failed": report.failed, "peak_kb": peak_kb()}))


def of_texts(count: int, megabytes: int, max_text_bytes: int) -> dict[str, Any]:
    with database() as url:
        make_space(url, active=False)
        with connect(url) as connection:
            connection.execute(
                """
                INSERT INTO source_items (source, source_key, modality, content_ref)
                SELECT 'bench', n::text, 'text', n || repeat(' and a word', %s)
                FROM generate_series(1, %s) AS n
                """,
                (megabytes * 10**6 // 11, count),
            )
        command = [sys.executable, "-m", "benchmarks.memory", "--child-of-texts", url]
        command += ["--max-text-mb", str(max_text_bytes // 10**6)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    report = json.loads(done.stdout)
    assert report["failed"] == count, report
    return {"texts": count, "megabytes": megabytes, "peak_mb": round(report["peak_kb"] / 1024)}


def of_a_worker(rows: int, batch_ms: float) -> dict[str, Any]:
    with database() as url:
        make_space(url, active=False)
        add_items(url, "image", [f"https://example.org/{n}.jpg" for n in range(rows)])
        command = [sys.executable, "-m", "benchmarks.memory", "--batch-ms", str(batch_ms)]
        done = subprocess.run([*command, "--child", url], stdout=subprocess.PIPE, check=True)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def files(folder: Path, count: int) -> list[str]:
    """JPEGs of 320x240, no two alike to the model."""
    random = np.random.default_rng(0)
    paths = []
    for number in range(count):
        pixels = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        path = folder / f"{number}.jpg"
        Image.fromarray(pixels).resize((320, 240), Image.Resampling.NEAREST).save(path)
        paths.append(str(path))
    return paths


def descendants(pid: int) -> Iterable[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        for one in map(int, (task / "children").read_text().split()):
            yield one
            yield from descendants(one)


def of_the_command(rows: int) -> dict[str, Any]:
    from benchmarks.end_to_end import activate  # torch, which the others are measured without

    with tempfile.TemporaryDirectory() as name, database() as url:
        activate(url, MODEL)
        add_items(url, "image", files(Path(name), rows))
        command, environment = ingest_command(url, Path(name))
        peaks: dict[int, int] = {}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
            while process.poll() is None:
                try:
                    for pid in [process.pid, *descendants(process.pid)]:
                        peaks[pid] = peak_kb(pid)
                except (OSError, StopIteration):
                    pass  # it ended while it was looked at
                time.sleep(SAMPLE_SECONDS)
            assert process.stdout is not None
            report = json.loads(process.stdout.read())
    decoders = sum(peaks.values()) - peaks[process.pid]
    return {
        "done": report["done"],
        "peak_kb": peaks[process.pid],
        "decoders_kb": decoders,
    }


def measure(
    short: int, long: int, peak: Callable[[int], dict[str, Any]] = lambda n: of_a_worker(n, 0)
) -> dict[str, Any]:
    small, large = peak(short), peak(long)
    assert (small["done"], large["done"]) == (short, long), (small, large)
    row = {
        "rows": [short, long],
        "peak_mb": [round(small["peak_kb"] / 1024), round(large["peak_kb"] / 1024)],
        "ratio": round(large["peak_kb"] / small["peak_kb"], 3),
    }
    if "decoders_kb" in large:
        row["decoders_mb"] = [round(r["decoders_kb"] / 1024) for r in (small, large)]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", type=int, default=1000)
    parser.add_argument("--long", type=int, default=100_000)
    parser.add_argument("--batch-ms", type=float, default=0.0, help="that the embedder waits")
    parser.add_argument("--command", action="store_true", help="`pipeline ingest` on JPEG files")
    parser.add_argument("--texts", type=int, help="so many long texts instead")
    parser.add_argument("--text-mb", type=int, default=30)
    parser.add_argument("--max-text-mb", type=int, default=1)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--child-of-texts", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    most = arguments.max_text_mb * 10**6
    if arguments.child_of_texts:
        child_of_texts(arguments.child_of_texts, most)
        return
    if arguments.texts:
        print(json.dumps(of_texts(arguments.texts, arguments.text_mb, most)))
        return
    if arguments.child:
        child(arguments.child, arguments.batch_ms)
        return
    say(f"{arguments.short} and {arguments.long} references")
    peak = of_the_command if arguments.command else lambda n: of_a_worker(n, arguments.batch_ms)
    print(json.dumps(measure(arguments.short, arguments.long, peak)))


if __name__ == "__main__":
    main()
