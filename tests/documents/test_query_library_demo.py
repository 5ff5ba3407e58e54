"""Every file of sql/queries finds rows on the demonstration's database, run as its README says."""

import csv
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.postgres.connections import connect
from tests.documents.test_query_library import FILES, FOLDER
from tests.helpers.command import Demo, pipeline
from tests.helpers.processes import wait_until

pytestmark = pytest.mark.timeout(600)

README = (FOLDER.parent / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def served(demo: Demo) -> Iterator[Demo]:
    """The demonstration's database while `pipeline serve` runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "serve"],
        env={**os.environ, "DATABASE_URL": demo.url},
        stderr=subprocess.DEVNULL,
    )
    try:
        with connect(demo.url) as connection:
            asked = "SELECT bool_or(is_served) FROM space_status"
            wait_until(lambda: connection.execute(asked).fetchone() == (True,), "serve")
        yield demo
    finally:
        process.terminate()
        process.wait(60)


def rows_of(demo: Demo, file: Path, *options: str) -> list[dict[str, str]]:
    done = pipeline(
        demo.folder, "db", "psql", "-Xq", "--csv", *options, "-f", str(file), DATABASE_URL=demo.url
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return list(csv.DictReader(io.StringIO(done.stdout)))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_finds_rows_as_it_is(file: Path, served: Demo) -> None:
    rows = rows_of(served, file, "-v", "ON_ERROR_STOP=1")
    assert rows
    for row in rows:
        for name in ("similarity", "distance", "score", "probability"):
            assert row.get(name) != "", f"{name} is null"


def test_the_readme_runs_them_so() -> None:
    assert "pipeline db psql -f sql/queries/text_to_image.sql" in README
    assert "pipeline db psql -v query='a dog' -f sql/queries/text_to_image.sql" in README


def test_a_parameter_is_given_on_the_command_line(served: Demo) -> None:
    file = FOLDER / "text_to_image.sql"
    found = rows_of(served, file, "-v", "query=a slice of pizza", "-v", "k=3")
    assert len(found) == 3
    assert "pizza" in found[0]["content_ref"]
    item = found[0]["id"]
    alike = rows_of(served, FOLDER / "like_item.sql", "-v", f"item={item}", "-v", "k=2")
    assert len(alike) == 2
    assert item not in {row["id"] for row in alike}


def test_a_parameter_has_one_default_so_that_files_follow_one_another_in_a_session() -> None:
    defaults: dict[str, set[str]] = {}
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        found = re.findall(r"^\\if :\{\?(\w+)} \\else \\set \w+ (.+) \\endif$", text, re.M)
        found += re.findall(r"^\\if :\{\?(\w+)}\n\\else\n(.+?)\n\\endif$", text, re.M | re.S)
        named = re.findall(r"^-- parameters: (.+)$", text, re.M)[0].split(", ")
        given = {name for name, _ in found}
        assert given <= set(named), file.stem
        assert named == ["none"] or set(re.findall(r":'?(\w+)", text)) >= set(named), file.stem
        for name, default in found:
            defaults.setdefault(name, set()).add(default)
    assert {name: values for name, values in defaults.items() if len(values) > 1} == {}
