"""A backlog that Ray embeds away from the database: every row ends as it does with a worker."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from pipeline.integrations.ray import run as embed_left
from pipeline.postgres.connections import connect
from pipeline.postgres.vector_arrays import unpack_vector
from tests.helpers.command import Run
from tests.helpers.demo_pairs import SAMPLES
from tests.helpers.processes import wait_until

IMAGES, TEXTS = 30, 60
# As a user's own program: a cluster of this machine alone that tells nobody of itself.
PROGRAM = """
import sys, ray
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
from pipeline.integrations.ray import run
print("embedded", run(sys.argv[1], sys.argv[2], actors=2, batch_size=int(sys.argv[3])))
"""


@pytest.fixture
def backlog(run: Run, tmp_path: Path) -> Path:
    """Images, captions, a text of many windows, and rows that cannot be embedded."""
    media = tmp_path / "media"
    media.mkdir()
    for number, path in enumerate(sorted((SAMPLES / "images").iterdir())[:IMAGES]):
        Image.open(path).save(media / f"{number}.png")
    (media / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no image")
    with (tmp_path / "texts.jsonl").open("w") as lines:
        for n in range(TEXTS):
            lines.write(json.dumps({"key": f"t{n}", "text": f"a red circle, number {n}"}) + "\n")
        long = " ".join(f"word{n} blue square" for n in range(200))
        lines.write(json.dumps({"key": "long", "text": long, "metadata": {"n": 1}}) + "\n")
        lines.write(json.dumps({"key": "blank", "text": " \u200b "}) + "\n")
    assert run("migrate", PIPELINE_MODEL="demo", PIPELINE_PRECISION="float32").returncode == 0
    assert run("add", "media").returncode == 0
    added = run("add", "texts.jsonl", "--source", "notes", "--key-column", "key")
    assert added.returncode == 0, added.stderr
    return tmp_path


def items(url: str) -> dict[tuple[str, int], tuple[Any, ...]]:
    """By key and part: what it is, and its vector."""
    with connect(url) as connection:
        rows = connection.execute(
            "SELECT s.source_key, i.part, i.modality, i.content_ref, i.metadata::text, "
            "i.content_sha256, i.embedding FROM multimodal_items AS i "
            "JOIN source_items AS s ON s.id = i.source_id",
            binary=True,
        ).fetchall()
    return {
        (key, part): (*rest, unpack_vector(bytes(v), "halfvec")) for key, part, *rest, v in rows
    }


def failures(url: str) -> list[tuple[Any, ...]]:
    with connect(url) as connection:
        return connection.execute(
            "SELECT source_key, error_code FROM ingest_failures ORDER BY 1"
        ).fetchall()


def embed(folder: Path, batch_size: int = 16) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "pending", "answers", str(batch_size)],
        cwd=folder,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "PIPELINE_HOME": str(folder / "home")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(program: subprocess.Popen[str]) -> str:
    out, err = program.communicate(timeout=250)
    assert program.returncode == 0, err
    return out


def test_ray_gives_what_a_worker_gives(run: Run, backlog: Path, empty_url: str) -> None:
    exported = run("space", "export", "demo", "pending", "--pending", "--json")
    assert exported.returncode == 0, exported.stderr
    due = json.loads(exported.stdout)["rows"]
    assert due == IMAGES + TEXTS + 3
    assert f"embedded {due}" in ended(embed(backlog))
    # What changed meanwhile, and what is gone, stays with the queue.
    with connect(empty_url) as connection:
        connection.execute("UPDATE source_items SET content_ref = 'other' WHERE source_key = 't0'")
        connection.execute("DELETE FROM source_items WHERE source_key = 't1'")
    imported = run("space", "import", "demo", "answers", "--json")
    assert imported.returncode == 0, imported.stderr
    told = json.loads(imported.stdout)
    assert (told["answers"], told["done"], told["failed"], told["left"]) == (due, due - 4, 2, 2)
    again = json.loads(run("space", "import", "demo", "answers", "--json").stdout)
    assert (again["done"], again["failed"], again["left"]) == (0, 0, due)
    by_ray, failed_by_ray = items(empty_url), failures(empty_url)

    with connect(empty_url) as connection:
        connection.execute("UPDATE source_items SET content_ref = content_ref || ' '")
        connection.execute("DELETE FROM multimodal_items")
        connection.execute("DELETE FROM deleted_items")
        connection.execute("UPDATE source_items SET content_ref = rtrim(content_ref)")
    assert run("ingest", "--once").returncode in (0, 1)
    by_worker = items(empty_url)
    assert by_worker.pop(("t0", 0))[1] == "other"
    assert sorted(by_ray) == sorted(by_worker)
    assert len([part for key, part in by_ray if key == "long"]) > 5
    for key, (*rest, vector) in by_worker.items():
        assert by_ray[key][:-1] == tuple(rest), key
        np.testing.assert_allclose(by_ray[key][-1], vector, atol=2e-4)  # halfvec's
    assert failed_by_ray == failures(empty_url)
    assert sorted(code for _, code in failed_by_ray) == ["empty_text", "truncated"]


def test_what_was_killed_goes_on(run: Run, backlog: Path, empty_url: str) -> None:
    assert run("space", "export", "demo", "pending", "--pending").returncode == 0
    # In many files, so that some are answered and others not.
    rows = parquet.read_table(backlog / "pending" / "pending-000000.parquet")
    (backlog / "pending" / "pending-000000.parquet").unlink()
    for n in range(0, rows.num_rows, 10):
        parquet.write_table(rows.slice(n, 10), backlog / "pending" / f"pending-{n:06}.parquet")
    with embed(backlog, 5) as program:
        answers = backlog / "answers"
        wait_until(lambda: len(list(answers.glob("*.parquet"))) >= 2, "two files of answers", 200)
        os.killpg(program.pid, signal.SIGKILL)
    (backlog / "answers" / "half.parquet").write_bytes(b"PAR1 and no more")
    left = int(ended(embed(backlog)).split()[-1])
    assert 0 < left < rows.num_rows
    imported = run("space", "import", "demo", "answers", "--json")
    assert imported.returncode == 1
    assert "half.parquet" in imported.stderr
    told = json.loads(imported.stdout)
    assert (told["done"], told["failed"]) == (rows.num_rows - 2, 2)
    assert embed_left(backlog / "pending", backlog / "answers") == 0

    with connect(empty_url) as connection:
        connection.execute("UPDATE embedding_spaces SET fingerprint = repeat('0', 64)")
    refused = run("space", "import", "demo", "answers")
    assert refused.returncode != 0
    assert "of another model" in refused.stderr


def test_an_export_says_what_is_wrong(run: Run, backlog: Path) -> None:
    (backlog / "full").mkdir()
    (backlog / "full" / "file").write_text("")
    full = run("space", "export", "demo", "full", "--pending")
    assert full.returncode != 0
    assert "has something in it" in full.stderr
    assert run("space", "export", "demo", "x.parquet", "--limit", "3").returncode == 2
    (backlog / "empty").mkdir()
    empty = run("space", "import", "demo", "empty")
    assert empty.returncode != 0
    assert "no folder with .parquet files" in empty.stderr
