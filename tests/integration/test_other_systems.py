"""With a database that is named, nothing needs what only Linux has, or only POSIX."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.modalities.base import ReadOptions
from pipeline.modalities.image.decoder import ImageDecoder
from pipeline.modalities.image.thumbnail import Thumbnail
from pipeline.postgres.connections import Connection
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.fakes import add_texts
from tests.helpers.images import encode, sample
from tests.helpers.workers import work

# As on macOS and Windows: none of these is there.
MISSING = """
import os, sys
sys.modules.update(dict.fromkeys(["pwd", "fcntl"]))
for name in ("sched_getaffinity", "memfd_create"):
    if hasattr(os, name):
        delattr(os, name)
"""
COMMANDS = {
    "status": ["status", "--json"],
    "search": ["search", "--item", "1", "--json"],
    "add": ["add", "--text", "a dog"],
    "doctor": ["doctor", "--json"],
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_commands_run_where_posix_has_no_accounts_and_locks(
    url: str,
    connection: Connection,
    settings: Settings,
    space: Space,
    tmp_path: Path,
    arguments: list[str],
) -> None:
    add_texts(connection, ["ant", "bee"])
    work(settings, space)
    (tmp_path / "pipeline.toml").write_text("poll_seconds = 1\n")
    (tmp_path / "pipeline.toml").chmod(0o664)
    done = subprocess.run(
        [sys.executable, "-c", f"{MISSING}from pipeline.cli import main; main()", *arguments],
        cwd=tmp_path,
        env={**os.environ, "DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr
    assert "Error" not in done.stderr
    assert done.stdout, done.stderr
    if "--json" in arguments:
        json.loads(done.stdout)
    if arguments[0] != "doctor":  # which finds something wrong in this bare database
        assert done.returncode == 0, done.stderr


def test_clients_run_there_too(url: str) -> None:
    program = f"""{MISSING}
import asyncio, sys
from pipeline import AsyncClient, Client
with Client(sys.argv[1]) as client:
    print(client.count())
async def main():
    async with AsyncClient(sys.argv[1]) as client:
        print(await client.count())
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program, url], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("0\n0\n", "")


def test_images_are_decoded_without_affinity_and_memory_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.delattr(os, "memfd_create")
    with ImageDecoder(ReadOptions(), Thumbnail(20)) as decoder:
        assert max(decoder.decode(encode(sample(40, 30), "PNG")).content.size) == 20
