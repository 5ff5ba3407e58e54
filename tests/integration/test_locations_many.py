"""A hundred thousand objects, and as many files: listed, changed, renamed, removed, and a listing
that fails half-way; each sync in a process of its own, whose memory is looked at.

With ``-s`` the figures are printed that docs/sources.md gives.
"""

import hashlib
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.loaders.listed import PAGE
from pipeline.postgres.connections import Connection
from pipeline.settings import Settings
from pipeline.sources.locations import Location, attach_location
from pipeline.spaces import Space
from tests.helpers.stores import BUCKET, Store, store

SIZES = [2_500, pytest.param(100_000, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])]
# The process has some 60 MiB before it begins. What 100,000 objects may add to that:
ROOM_KIB = 48 * 1024

PROGRAM = """
import json, sys
from dataclasses import asdict
from pipeline.postgres.database import Database
from pipeline.settings import Settings
from pipeline.sources.locations import sync_location
from pipeline.sources.removal import Brake

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

settings = Settings.load()
before = peak()
with Database.of(settings).open() as connection:
    report = sync_location(connection, sys.argv[1], settings, Brake(0.1))
print(json.dumps(asdict(report) | {"grown": peak() - before}))
"""


@dataclass
class Sync:
    """``sync(step)``: one sync in a process, its figures printed; counts of what it did."""

    url: str
    name: str
    folder: Path
    requests: Callable[[], dict[str, int]]

    def __call__(self, step: str) -> tuple[int, int, int, int, int]:
        self.report = self._run(step)
        return tuple(
            self.report[name] for name in ("listed", "added", "changed", "moved", "removed")
        )

    def _run(self, step: str) -> dict[str, Any]:
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, self.name],
            env={
                **os.environ,
                "DATABASE_URL": self.url,
                "PIPELINE_HOME": str(self.folder / "home"),
                "PIPELINE_BUCKETS": f"s3://{BUCKET}",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        print(
            f"{step}: {time.monotonic() - started:.1f} s, {report['grown'] / 1024:.0f} MiB more, "
            f"{self.requests()}, {report['listed']} listed"
        )
        assert report["grown"] < ROOM_KIB
        return report


def body(number: int) -> bytes:
    return b"%08d" % number


def key(number: int) -> str:
    return f"{number % 100:02}/{number:06}.png"


def embed(connection: Connection, space: Space, count: int) -> None:
    """Items as an ingest of these contents would have written them, and the queue empty."""
    dimensions = space.dimensions
    vector = json.dumps([1.0] + [0.0] * (dimensions - 1))
    connection.execute(
        """
        INSERT INTO multimodal_items (source_id, modality, content_ref, metadata, space_id,
            content_sha256, embedding)
        SELECT s.id, s.modality, s.content_ref, '{}', %s,
            sha256(convert_to(lpad(ltrim(substring(s.row_key FROM '/(.*)\\.'), '0'), 8, '0'),
                'UTF8')), %s::halfvec
        FROM source_items AS s
        """,
        (space.id, vector),
    )
    connection.execute("DELETE FROM ingest_jobs")
    connection.execute("ANALYZE source_items, multimodal_items")
    (right,) = connection.execute(
        "SELECT count(*) FROM multimodal_items WHERE content_sha256 = %s",
        (hashlib.sha256(body(count - 1)).digest(),),
    ).fetchone() or (0,)
    assert right == 1


def items(connection: Connection) -> int:
    """How many items there are whose source item is where the item's content is."""
    (count,) = connection.execute(
        "SELECT count(*) FROM multimodal_items AS i JOIN source_items AS s ON s.id = i.source_id"
    ).fetchone() or (0,)
    return int(count)


@pytest.mark.parametrize("count", SIZES)
def test_a_prefix_of_many_objects_is_followed(
    store: Store,
    connection: Connection,
    url: str,
    settings: Settings,
    space: Space,
    tmp_path: Path,
    count: int,
) -> None:
    bucket = importlib.import_module("moto.backends").get_backend("s3")
    (accounts,) = [one["aws"] for one in bucket.values()]
    put, delete = accounts.put_object, accounts.delete_object

    def requests() -> dict[str, int]:
        asked = dict(store.requests)
        store.requests.clear()
        return asked

    for number in range(count):
        put(BUCKET, key(number), body(number))
    attach_location(
        connection,
        Location(f"s3://{BUCKET}", "many"),
        settings.model_copy(update={"buckets": (f"s3://{BUCKET}",)}),
    )
    requests()
    sync = Sync(url, "many", tmp_path, requests)
    assert sync("first") == (count, count, 0, 0, 0)
    embed(connection, space, count)
    assert sync("unchanged") == (count, 0, 0, 0, 0)

    changed, renamed, removed = count // 100, count // 10, count // 50
    for number in range(changed):
        put(BUCKET, key(number), b"another %d" % number)
    for number in range(changed, changed + renamed):
        put(BUCKET, f"new/{number:06}.png", body(number))
        delete(BUCKET, key(number))
    for number in range(count - removed, count):
        delete(BUCKET, key(number))
    half = count // PAGE // 2
    store.fails = lambda kind, so_far: kind == "LIST" and so_far > half
    assert sync("fails half-way")[0] == half * PAGE
    assert sync.report["moved"] == sync.report["removed"] == 0
    assert not sync.report["is_complete"]
    assert items(connection) == count
    store.fails = lambda _, __: False
    changed_before = sync.report["changed"]
    listed, added, changed_since, moved, gone = sync("goes on")
    assert (listed, added, moved, gone) == (count - removed, 0, renamed, removed)
    assert changed_before + changed_since == changed
    assert items(connection) == count - removed
    assert sync("unchanged again") == (count - removed, 0, 0, 0, 0)


@pytest.mark.parametrize("count", SIZES)
def test_a_folder_of_many_files_is_followed(
    connection: Connection, url: str, settings: Settings, space: Space, tmp_path: Path, count: int
) -> None:
    folder = tmp_path / "many"
    for number in range(100):
        (folder / f"{number:02}").mkdir(parents=True)
    for number in range(count):
        (folder / key(number)).write_bytes(body(number))
    attach_location(connection, Location(str(folder)), settings)
    sync = Sync(url, "many", tmp_path, dict)
    assert sync("first") == (count, count, 0, 0, 0)
    embed(connection, space, count)
    assert sync("unchanged") == (count, 0, 0, 0, 0)

    changed, renamed, removed = count // 100, count // 10, count // 50
    for number in range(changed):
        (folder / key(number)).write_bytes(b"another %d" % number)
    (folder / "new").mkdir()
    for number in range(changed, changed + renamed):
        (folder / key(number)).rename(folder / "new" / f"{number:06}.png")
    for number in range(count - removed, count):
        (folder / key(number)).unlink()
    assert sync("changed") == (count - removed, 0, changed, renamed, removed)
    assert items(connection) == count - removed
    assert sync("unchanged again") == (count - removed, 0, 0, 0, 0)


__all__ = ["store"]  # a fixture
