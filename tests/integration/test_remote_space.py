"""A space whose model is behind a server, which does all that servers do."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest
from PIL import Image

from tests.helpers import embedding_server
from tests.helpers.command import Run
from tests.helpers.embedding_server import KEY, Served
from tests.helpers.fakes import vector_of
from tests.helpers.moments import pages_of

BAD = "what no server reads"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("PIPELINE_REMOTE_KEY", KEY)
    with embedding_server.embedding_server() as served:
        yield served


@pytest.fixture
def space(run: Run, served: Served) -> str:
    assert run("migrate", "--no-space").returncode == 0
    created = run("space", "create", "far", "--model", served.spec)
    assert created.returncode == 0, created.stderr
    done = run("space", "activate", "far", "--no-gate")
    assert done.returncode == 0, done.stderr
    return "far"


def test_it_is_filled_and_searched_as_any_other(
    run: Run, space: str, empty_url: str, tmp_path: Path, served: Served
) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (3, 40, 50, 3), dtype=np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    added = run("add", str(tmp_path), "--text", "a red bicycle", "--text", "two cats")
    assert added.returncode == 0, added.stderr
    done = run("ingest", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    # Of the question that opens the model, its probes, and the rows.
    assert report["done"] == 5
    assert report["tokens"] >= 50
    shown = run("ingest")
    assert "nothing due" in shown.stdout
    found = run("search", "a red bicycle", "--modality", "text", "--json")
    assert "a red bicycle" in found.stdout.splitlines()[0]
    found = run("search", "--image", str(tmp_path / "1.png"), "--modality", "image", "--json")
    assert "1.png" in found.stdout.splitlines()[0]
    said = run("space", "show", space).stdout
    assert served.spec in said
    assert KEY not in said


def test_pages_of_a_document_are_images_to_the_server_and_a_dry_run_says_what_it_knows(
    run: Run, space: str, tmp_path: Path
) -> None:
    (tmp_path / "pages.pdf").write_bytes(pages_of(1, 4, 5))
    assert run("add", "pages.pdf", "--text", "two cats").returncode == 0
    told = json.loads(run("ingest", "--dry-run", "--json").stdout)
    assert (told["due"], told["remote"], told["tokens"], told["uncounted"]) == (2, True, 4, 1)
    report = json.loads(run("ingest", "--json").stdout)
    assert (report["done"], report["items"]) == (2, 4)


def test_every_row_is_right_or_named_whatever_the_server_does(
    run: Run, space: str, empty_url: str, served: Served
) -> None:
    texts = [f"text number {n}" for n in range(150)] + [BAD]
    served.refuses = lambda text: text == BAD
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO source_items (source, source_key, modality, content_ref) "
            "SELECT 'test', n::text, 'text', t FROM unnest(%s::text[]) WITH ORDINALITY AS u (t, n)",
            (texts,),
        )
        served.faults += [
            lambda handler, good: good,  # the question that opens the model
            lambda handler, good: good,  # its probes
            lambda handler, good: good,
            embedding_server.status(429, Retry_After="0"),
            embedding_server.one_too_few,
            embedding_server.another_order,
            embedding_server.reset_in_mid_body,
            embedding_server.no_json,
        ]
        done = run("ingest", "--json")
        assert done.returncode == 1, done.stderr
        report = json.loads(done.stdout)
        assert (report["done"], report["failed"], report["retrying"]) == (150, 1, 0)
        assert served.faults == []
        stored = dict(connection.execute(
            "SELECT content_ref, embedding::text FROM multimodal_items"
        ).fetchall())  # fmt: skip
        assert sorted(stored) == sorted(texts[:-1])
        for text, vector in stored.items():
            expected = vector_of(text.encode())
            np.testing.assert_allclose(json.loads(vector), expected, atol=1e-3)
        failed = connection.execute("SELECT error_code, error, attempts FROM ingest_jobs")
        ((code, error, attempts),) = failed.fetchall()
        assert (code, attempts) == ("refused", 1)
        assert "that cannot be read" in error


def test_a_server_that_stays_away_burns_no_attempts(
    run: Run, space: str, empty_url: str, served: Served
) -> None:
    assert run("add", "--text", "one", "--text", "two").returncode == 0
    with psycopg.connect(empty_url, autocommit=True) as connection:
        served.faults += [lambda handler, good: good] * 3
        served.faults += [embedding_server.status(503)] * 1000
        done = run("ingest", PIPELINE_REMOTE_SECONDS="1")
        assert done.returncode == 75, done.stderr
        assert "HTTP 503" in done.stderr
        assert KEY not in done.stderr
        in_queue = "SELECT state, attempts FROM ingest_jobs"
        assert connection.execute(in_queue).fetchall() == [("pending", 0)] * 2
        served.faults[:] = [lambda handler, good: good] * 3 + [embedding_server.status(401)]
        done = run("ingest")
        assert done.returncode == 1, done.stderr
        assert "refuses the key in PIPELINE_REMOTE_KEY" in done.stderr
        assert connection.execute(in_queue).fetchall() == [("pending", 0)] * 2
        assert run("ingest").returncode == 0
        assert connection.execute("SELECT count(*) FROM multimodal_items").fetchone() == (2,)


def test_another_model_under_the_same_name_is_noticed(
    run: Run, space: str, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("add", "--text", "one").returncode == 0
    other = embedding_server.vector_of
    monkeypatch.setattr(
        embedding_server, "vector_of", lambda content, dimensions: other(b"?" + content, dimensions)
    )
    done = run("ingest")
    assert done.returncode == 1
    assert "does not give the vectors of the space 'far' any more" in done.stderr
