"""A model hub on loopback that breaks off, or answers nonsense: always one line, and what to do."""

import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.embedders.local.files import CONFIG_NAME, SAVED_WEIGHTS_NAMES
from pipeline.embedders.local.hub import PREPROCESSING_FILES, TOKENIZER_FILES
from tests.helpers.command import Run
from tests.helpers.http_server import ANSWERS, Answer, Request, Server, answer, serving
from tests.helpers.saved_by_transformers import save_clip, save_clip_processor

# What the hub says of a file before it is asked for it.
ABOUT = ('ETag: "abc"', "X-Repo-Commit: 0123456789012345678901234567890123456789")
SIZE = 100_000
FILE = "/org/name/resolve/main/open_clip_config.json"


def reset(connection: socket.socket) -> bool:
    """End the connection as a machine does that knows nothing of it."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    return False


def breaks_off(server: Server, request: Request, connection: socket.socket) -> bool:
    if request.method == "HEAD":
        return answer(connection, "200 OK", b"", *ABOUT, length=SIZE)
    answer(connection, "200 OK", b"{" * 1000, *ABOUT, length=SIZE)
    return reset(connection)


def hangs_up_when_asked(server: Server, request: Request, connection: socket.socket) -> bool:
    return reset(connection)


def is_no_hub(server: Server, request: Request, connection: socket.socket) -> bool:
    return answer(connection, "200 OK", b"<html>", "Content-Type: text/html")


def speaks_no_http(server: Server, request: Request, connection: socket.socket) -> bool:
    connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
    return False


def refuses(server: Server, request: Request, connection: socket.socket) -> bool:
    return answer(connection, "401 Unauthorized", b"", "X-Error-Code: GatedRepo")


@pytest.fixture
def hub() -> Iterator[Server]:
    with serving() as server:
        yield server


def behave(monkeypatch: pytest.MonkeyPatch, behaviour: Answer) -> None:
    monkeypatch.setitem(ANSWERS, FILE, behaviour)


@pytest.mark.parametrize(
    "behaviour",
    [breaks_off, hangs_up_when_asked, is_no_hub, speaks_no_http, refuses],
    ids=lambda behaviour: behaviour.__name__,
)
def test_a_hub_that_fails_is_an_error_of_ours(
    hub: Server, behaviour: Answer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    behave(monkeypatch, behaviour)
    program = """
from pipeline.embedders.local.hub import fetch_config
from pipeline.errors import ModelError
try:
    fetch_config("org/name")
except ModelError as exc:
    print(exc)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"HF_ENDPOINT": hub.url(""), "HF_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    assert line.startswith("org/name is not in the hub's cache and cannot be fetched (")
    assert "copy open_clip_config.json" in line
    assert FILE in hub.paths()


def test_the_command_ends_with_that_line(
    run: Run, hub: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    behave(monkeypatch, breaks_off)
    assert run("migrate", "--no-space").returncode == 0
    done = run(
        *("space", "create", "new", "--model", "hf-hub:org/name"),
        HF_ENDPOINT=hub.url(""),
        HF_HOME=str(tmp_path / "hub"),
    )
    assert done.returncode == 1
    assert [request.method for request in hub.requests if request.path == FILE] == ["HEAD", "GET"]
    loading, line = done.stderr.splitlines()
    assert loading == "loading the model hf-hub:org/name"
    assert line.startswith("pipeline: org/name is not in the hub's cache and cannot be fetched (")


def serves(folder: Path) -> Answer:
    """The files of a folder as the hub serves those of a repository, and no others."""

    def respond(server: Server, request: Request, connection: socket.socket) -> bool:
        file = folder / request.path.rpartition("/")[2]
        if not file.is_file():
            return answer(connection, "404 Not Found", b"", "X-Error-Code: EntryNotFound")
        content = file.read_bytes()
        about = (f'ETag: "{len(content)}"', ABOUT[1])
        body = b"" if request.method == "HEAD" else content
        answer(connection, "200 OK", body, *about, length=len(content))
        return True

    return respond


def test_what_transformers_saved_is_downloaded_once(
    run: Run, hub: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    save_clip(tmp_path / "saved")
    save_clip_processor(tmp_path / "saved")
    names = {CONFIG_NAME, *SAVED_WEIGHTS_NAMES, *TOKENIZER_FILES, *PREPROCESSING_FILES}
    for name in names:
        path = f"/shop/our-clip/resolve/main/{name}"
        monkeypatch.setitem(ANSWERS, path, serves(tmp_path / "saved"))
    assert run("migrate", "--no-space").returncode == 0
    environment = {"HF_ENDPOINT": hub.url(""), "HF_HOME": str(tmp_path / "hub")}
    create = ("space", "create", "one", "--model", "shop/our-clip", "--precision", "float32")
    done = run(*create, **environment)
    assert done.returncode == 0, done.stderr
    gotten = [r.path.rpartition("/")[2] for r in hub.requests if r.method == "GET"]
    assert gotten.count("model.safetensors") == 1
    assert "pytorch_model.bin" not in gotten
    assert {"tokenizer.json", "preprocessor_config.json", "config.json"} <= set(gotten)
    before = len(hub.requests)
    again = run("space", "create", "two", *create[3:], **environment)
    assert "one" in again.stderr  # it is that space
    assert "cannot be fetched" not in again.stderr
    asked = {request.path.rpartition("/")[2] for request in hub.requests[before:]}
    assert not asked & {CONFIG_NAME, "config.json", "model.safetensors", "tokenizer.json"}
