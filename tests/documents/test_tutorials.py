"""The tutorials, followed: each command as it stands, in the order of the page."""

import fnmatch
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.demo.manifest import SAMPLES
from pipeline.postgres.connections import connect
from pipeline.postgres.embedded import EmbeddedServer
from tests.helpers.databases import database_url
from tests.helpers.in_turn import Order, carry_out

FOLDER = Path(__file__).parents[2] / "docs/tutorials"
# Not followed: what makes the environment, which the tests have, and what runs until it is stopped.
ELSEWHERE = re.compile(r"(python3 -m venv|\. |pip install|pipeline (web|serve)\b)")
ENDS_WITH = {
    ("photos", "pipeline ingest"): [1, 0]
}  # a photo is broken; the second finds nothing due


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of them, one of which is none, in the current folder; with a small model."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("bicycle", "pizza", "banana", "accordion"):
        shutil.copy(SAMPLES / "images" / f"{name}.webp", folder)
    (folder / "broken.jpg").write_text("no image")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIPELINE_MODEL", "demo")
    return folder


@pytest.fixture
def roles(server: EmbeddedServer) -> Iterator[None]:
    """The logins and the database that a tutorial makes are dropped, wherever it ends."""
    yield
    with connect(server.url()) as admin:
        admin.execute("DROP DATABASE IF EXISTS trial WITH (FORCE)")
        admin.execute("DROP ROLE IF EXISTS embedder, ana")


def steps(page: str) -> Iterator[tuple[str, list[str]]]:
    """(command, what the page shows of its output) of each that is to be followed."""
    text = (FOLDER / f"{page}.md").read_text("utf-8")
    for block in re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for command, shown in re.findall(r"^\$ (.+)\n((?:[^$].*\n)*)", block, re.MULTILINE):
            if not ELSEWHERE.match(command):
                yield command, shown.splitlines()


def follow(
    page: str, url: str, photos: Path, monkeypatch: pytest.MonkeyPatch, trial: str = ""
) -> str:
    """All that its commands printed; ``trial`` is the other database of the page."""
    printed, endings = "", {key: list(codes) for key, codes in ENDS_WITH.items()}
    for command, shown in steps(page):
        here = command.replace("/srv/photos", str(photos))
        here = here.replace("postgresql://you@host/shop", url)
        here = here.replace("postgresql://you@host/trial", trial)
        words = shlex.split(here)
        if words[0] == "export":
            monkeypatch.setenv(*words[1].split("=", 1))
            continue
        at = words.pop(0).partition("=")[2] if words[0].startswith("DATABASE_URL=") else url
        assert words.pop(0) == "pipeline", command
        code, out, err = run(words, at)
        expected = endings.get((page, command))
        assert code == (expected.pop(0) if expected else 0), f"{command}\n{out}\n{err}"
        for line in shown:
            pattern = line.replace("[", "[[]").replace("...", "*")
            assert any(fnmatch.fnmatchcase(found, pattern) for found in out.splitlines()), out
        printed += out
    return printed


def run(words: list[str], url: str) -> tuple[int, str, str]:
    if words[:2] != ["db", "psql"]:
        done = carry_out(Order(words, url))
        return done.code, done.stdout, done.stderr
    # It becomes psql, and so would this process.
    psql = subprocess.run(
        [EmbeddedServer(Path.cwd()).binary("psql"), "--no-psqlrc", url, *words[2:]],
        capture_output=True,
        text=True,
        check=False,
    )
    return psql.returncode, psql.stdout, psql.stderr


def test_photos_are_added_found_and_followed(
    empty_url: str, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = follow("photos", empty_url, photos, monkeypatch)
    assert "not_an_image" in printed
    assert printed.count("pizza.webp") >= 2


def test_a_table_is_attached_searched_and_left_and_then_runs_for_real(
    server: EmbeddedServer, empty_url: str, photos: Path, roles: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    printed = follow("table", empty_url, photos, monkeypatch)
    assert re.search(r"Margherita *\| *9 ", printed)
    assert re.search(r"12 *\| .*banana\.webp", printed)
    trial = database_url(server.url(), "trial")
    follow("production", empty_url, photos, monkeypatch, trial)
