"""`pipeline serve --http` as people run it: by OpenAI's client, and as the model of a space."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import openai
import psycopg
import pytest

from pipeline.embeddings_api.address import is_own_host, listen, parse
from pipeline.errors import ConfigurationError
from tests.helpers.command import Run
from tests.helpers.processes import wait_until

TOKEN = "a-token-of-ours"


@contextmanager
def served(url: str, folder: Path, *arguments: str) -> Iterator[str]:
    """A server with its model loaded; ends it by SIGTERM, and looks how it ended."""
    log = folder / "serve.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", "serve", "--http", "127.0.0.1:0", *arguments],
            cwd=folder,
            env={**os.environ, "DATABASE_URL": url, "PIPELINE_SERVE_TOKEN": TOKEN},
            stderr=stderr,
        )
    try:
        wait_until(
            lambda: "serving the space" in log.read_text() or process.poll() is not None, "a server"
        )
        found = re.search(r"embeddings at (http://127\.0\.0\.1:\d+/v1)\n", log.read_text())
        assert found, log.read_text()
        yield found[1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()
        assert "Traceback" not in log.read_text()
        assert TOKEN not in log.read_text()
    finally:
        process.kill()
        process.wait()


def probes(connection: psycopg.Connection, space: str) -> dict[tuple[str, bytes], np.ndarray]:
    rows = connection.execute(
        "SELECT modality, content, embedding FROM space_probes JOIN embedding_spaces AS s "
        "ON s.id = space_id WHERE s.name = %s",
        (space,),
    ).fetchall()
    return {(modality, bytes(content)): np.array(vector) for modality, content, vector in rows}


def test_a_space_of_its_model_over_http_is_the_space_itself(
    run: Run, empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_REMOTE_KEY", TOKEN)
    assert run("migrate", PIPELINE_MODEL="demo", PIPELINE_PRECISION="float32").returncode == 0
    with (
        psycopg.connect(empty_url, autocommit=True) as connection,
        served(empty_url, tmp_path) as url,
    ):
        asks = openai.OpenAI(base_url=url, api_key=TOKEN, max_retries=0)
        (model,) = asks.models.list().data
        assert len(asks.embeddings.create(model="demo", input="a red car").data[0].embedding) == 192
        # CLIP's tokens, start and end of the text included.
        usage = asks.embeddings.create(model=model.id, input=["a red car"] * 2).usage
        assert usage.total_tokens == 10
        assert httpx.get(f"{url}/models").status_code == 401

        near = probes(connection, model.id)
        for dialect, count in (("openai", 5), ("infinity", len(near))):
            spec = f"remote:{dialect},{url}#{model.id};context=32"
            made = run("space", "create", dialect, "--model", spec)
            assert made.returncode == 0, made.stderr
            far = probes(connection, dialect)
            assert len(far) == count
            assert min(float(far[key] @ near[key]) for key in far) >= 0.9999
            assert run("space", "drop", dialect, "--yes").returncode == 0

        # Another space becomes the active one under it.
        made = run("space", "create", "other", "--model", "demo", "--precision", "bfloat16")
        assert made.returncode == 0, made.stderr
        assert run("space", "activate", "other", "--no-gate").returncode == 0
        wait_until(lambda: asks.models.list().data[0].id == "other", "the other space")
        # Its spec is that of the one before.
        assert asks.embeddings.create(model="demo", input="a red car").model == "other"


def test_other_machines_are_let_in_by_a_token_alone(run: Run) -> None:
    for address in ("0.0.0.0:0", "[::]:0"):
        done = run("serve", "--http", address)
        assert done.returncode == 1
        assert "PIPELINE_SERVE_TOKEN" in done.stderr
        assert "Traceback" not in done.stderr


def test_an_address_is_one_or_is_refused() -> None:
    assert (parse("8080").host, parse("8080").port) == ("127.0.0.1", 8080)
    assert (parse("[::1]:80").host, parse("localhost:0").port) == ("::1", 0)
    for wrong in ("", ":80", "a", "a:b", "a:70000", "u@a:80", "a:80/path", "http://a:80", "::1"):
        with pytest.raises(ConfigurationError, match="no address to listen at"):
            parse(wrong)


def test_an_answer_does_not_wait_for_an_acknowledgement() -> None:
    """Its head and its body are two packets: without it the second waits for 40 ms."""
    with (
        listen(parse("127.0.0.1:0"), has_token=False) as listening,
        socket.create_connection(listening.getsockname()),
    ):
        taken, _ = listening.accept()
        with taken:
            assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_which_hosts_are_this_machine() -> None:
    assert all(map(is_own_host, ("127.0.0.1", "127.0.0.1:80", "localhost:80", "[::1]:80")))
    for other in ("", "evil.example", "127.0.0.1.evil.example:80", "10.0.0.1", "[::1", "0.0.0.0"):
        assert not is_own_host(other)
