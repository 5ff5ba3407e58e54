"""The application in docs/examples/attached_shop, from nothing to nothing."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import indent

import pytest

from pipeline.demo.manifest import SAMPLES
from pipeline.postgres.connections import connect
from pipeline.postgres.embedded import EmbeddedServer
from tests.helpers.command import Run
from tests.helpers.dumps import dump

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs/examples/attached_shop"
PHOTOS = ("bicycle", "pizza", "banana", "airplane-departure", "accordion")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the application, with photos."""
    folder = tmp_path / "shop"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "photos").mkdir()
    for name in PHOTOS:
        shutil.copy(SAMPLES / "images" / f"{name}.webp", tmp_path / "photos")
    return folder


def schema_of(server: EmbeddedServer, url: str, file: Path) -> list[str]:
    """All that there is but rows, as `pg_dump` writes it."""
    dump(server, url, file, "--schema-only", "--format=plain")
    # A key of each dump's own, since 18.
    return [line for line in file.read_text("utf-8").splitlines() if "restrict " not in line]


def test_it_attaches_adds_finds_and_leaves_nothing(
    server: EmbeddedServer, empty_url: str, run: Run, folder: Path, tmp_path: Path
) -> None:
    def application(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "DATABASE_URL": empty_url.replace("postgresql", "postgresql+psycopg", 1),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def pipeline(*arguments: str) -> str:
        done = run(*arguments, PIPELINE_MEDIA_ROOTS=str(tmp_path / "photos"))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def found(*arguments: str) -> list[str]:
        """The titles that it prints."""
        return [line.split("  ")[0] for line in application("shop.py", *arguments).splitlines()]

    pipeline("migrate", "--model", "demo")
    application("-m", "alembic", "upgrade", "0001")
    before = schema_of(server, empty_url, tmp_path / "before.sql")
    application("-m", "alembic", "upgrade", "head")
    assert schema_of(server, empty_url, tmp_path / "attached.sql") != before
    assert "No new upgrade operations" in application("-m", "alembic", "check")

    application("shop.py", "add", str(tmp_path / "photos"))
    pipeline("ingest", "--once")
    text = "a slice of pizza"
    pipeline("search", text, "-k", "1")  # nobody serves here; now its vector is known
    assert found("search", text)[0] == "pizza"
    assert "pizza" not in found("search", text, "3")  # the fifth costs more
    assert len(found("like", "bicycle")) == 3

    with connect(empty_url) as connection:
        connection.execute("UPDATE shop_products SET photo_url = NULL WHERE title = 'pizza'")
        connection.execute("UPDATE shop_products SET title = 'bike' WHERE title = 'bicycle'")
        pipeline("ingest", "--once")
        assert "pizza" not in found("search", text)
        assert "pizza" not in found("like", "banana")
        rows = connection.execute("SELECT count(*) FROM shop_products_items").fetchone()
        assert rows == (4 + 5,)

        application("-m", "alembic", "downgrade", "0001")
        assert schema_of(server, empty_url, tmp_path / "after.sql") == before
        for table in ("source_items", "multimodal_items", "attached_sources"):
            assert connection.execute(f"SELECT FROM {table}".encode()).rowcount == 0
        kept = connection.execute("SELECT count(*) FROM shop_products").fetchone()
        assert kept == (5,)
    application("-m", "alembic", "downgrade", "base")


def test_its_script_for_an_administrator_runs(empty_url: str, run: Run, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head", "--sql"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert run("migrate", "--no-space").returncode == 0
    with connect(empty_url) as connection:
        connection.execute(done.stdout.encode())
        rows = connection.execute("SELECT name FROM attached_sources").fetchall()
        assert rows == [("shop_products",)]
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [
            ("0002",)
        ]


def test_the_page_names_every_file_of_it() -> None:
    page = (ROOT / "docs/sources.md").read_text("utf-8")
    for file in sorted(EXAMPLE.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            assert f"examples/attached_shop/{file.relative_to(EXAMPLE)}" in page


def test_the_page_shows_what_stands_in_it() -> None:
    page = (ROOT / "docs/sources.md").read_text("utf-8")
    shown = page.partition("## In a migration")[2].partition("## In the ORM")
    blocks = re.findall(r"```python\n(.*?)```", shown[0] + shown[2].partition("\n## ")[0], re.S)
    text = "\n".join(file.read_text("utf-8") for file in EXAMPLE.rglob("*.py"))
    assert len(blocks) == 5
    for block in blocks:
        assert any(indent(block, " " * n) in text for n in (0, 4, 8)), block
