"""The map of `pipeline web`: how long it takes to be made, and how smoothly it is moved.

Two cones of 512 dimensions. The points for the first time and again, with the most memory that the
process took for them; then frames per second while the map is zoomed, in Debian's Chromium at
1280x800 without a graphics card: as it is, and with OpenGL by SwiftShader.
"""

import argparse
import contextlib
import json
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psutil

from benchmarks.harness import database, make_space, say
from benchmarks.web_process import running_web
from pipeline.postgres.connections import connect
from tests.helpers.two_cones import store, two_cones

FLAGS = {"frames": (), "frames_swiftshader": ("--use-gl=angle", "--use-angle=swiftshader")}
FRAMES = 90
# Frames while the wheel turns and the map is drawn anew in each.
_MOVE = """async frames => {
    const points = document.getElementById("points");
    const box = points.getBoundingClientRect();
    const next = () => new Promise(requestAnimationFrame);
    const turn = n => points.dispatchEvent(new WheelEvent("wheel", {
        deltaY: n % 30 < 15 ? -20 : 20, cancelable: true,
        clientX: box.left + box.width / 2, clientY: box.top + box.height / 2,
    }));
    await next();
    const begun = performance.now();
    for (let n = 0; n < frames; n++) { turn(n); await next(); }
    return 1000 * frames / (performance.now() - begun);
}"""


def fill(url: str, count: int) -> None:
    """As many items, half of them texts."""
    space = make_space(url)
    made = two_cones(count // 2)
    with connect(url) as connection:
        # The map asks no index, and filling one would take longer than all else.
        found = connection.execute(
            "SELECT i.indexrelid::regclass::text FROM pg_index AS i "
            "JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am AS a ON a.oid = c.relam "
            "WHERE a.amname = 'hnsw' AND i.indrelid = 'multimodal_items'::regclass"
        )
        for (index,) in found.fetchall():
            connection.execute(f"DROP INDEX {index}".encode())
        store(connection, space, "text", made.texts, first_source_id=1)
        store(connection, space, "image", made.images, first_source_id=count)
        connection.execute("VACUUM ANALYZE")


@contextlib.contextmanager
def pages(folder: Path, url: str) -> Iterator[tuple[httpx.Client, psutil.Process]]:
    """A running `pipeline web`, which answers no query."""
    with (
        running_web(folder, url) as (address, process),
        httpx.Client(base_url=address, timeout=300) as client,
    ):
        client.get("/map").raise_for_status()
        yield client, process


def timed(client: httpx.Client) -> tuple[float, int]:
    """Seconds and bytes of the points."""
    begun = time.perf_counter()
    answer = client.get("/map/points").raise_for_status()
    return round(time.perf_counter() - begun, 2), len(answer.content)


def peak_bytes(process: psutil.Process) -> int:
    """The most memory that it had so far. Linux alone says so."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    assert found is not None
    return 1024 * int(found[1])


def frames(url: str, flags: Sequence[str]) -> float:
    """Per second, with the whole map in sight: the median of three."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", *flags]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"{url}/map")
        page.wait_for_selector("#points[data-state]", timeout=300_000)
        found = sorted(page.evaluate(_MOVE, FRAMES) for _ in range(3))
        browser.close()
    return round(float(found[1]), 1)


def measure(count: int) -> dict[str, Any]:
    with database() as url, TemporaryDirectory() as name:
        say(f"{count:,} items")
        fill(url, count)
        with pages(Path(name), url) as (client, process):
            before = process.memory_info().rss
            first, size = timed(client)
            peak = peak_bytes(process)
            again, _ = timed(client)
            address = str(client.base_url).rstrip("/")
            found = {name: frames(address, flags) for name, flags in FLAGS.items()}
    return {
        "items": count,
        "first_s": first,
        "again_s": again,
        "megabytes": round(size / 1e6, 2),
        "memory_mib": round((peak - before) / 2**20),
        **found,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, nargs="+", default=[100_000])
    for count in parser.parse_args().items:
        print(json.dumps(measure(count)))
