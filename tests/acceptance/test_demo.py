"""`pipeline demo`: from nothing to text that finds images and images that find text."""

import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from pipeline.database import connect
from pipeline.embedded import EmbeddedServer

from .conftest import Demo, Run

ROOT = Path(__file__).parents[2]


def test_it_answers_in_every_direction_and_says_how_to_go_on(demo: Demo) -> None:
    printed = demo.first.stdout
    for direction in (
        "text to image", "image to text", "image to image", "text to text", "mixed",
    ):  # fmt: skip
        assert f"{direction}: " in printed
    assert "db psql" in printed
    assert printed.count("SELECT") >= 3
    assert "--model ViT-B-32/laion2b_s34b_b79k" in printed


def test_text_finds_its_picture_and_a_picture_its_caption(demo: Demo) -> None:
    found = json.loads(demo.run("search", "bicycle", "-m", "image", "-k", "5", "--json").stdout)
    assert "bicycle" in [n["metadata"]["name"] for n in found]
    picture = next(n for n in found if n["metadata"]["name"] == "bicycle")
    file = picture["content_ref"]
    back = json.loads(demo.run("search", "--image", file, "-m", "text", "-k", "5", "--json").stdout)
    assert "bicycle" in [n["metadata"]["name"] for n in back]
    item = str(picture["id"])
    same = json.loads(demo.run("search", "--item", item, "-m", "text", "-k", "5", "--json").stdout)
    assert [n["id"] for n in same] == [n["id"] for n in back]


def test_a_second_run_changes_no_row(demo: Demo) -> None:
    query = "SELECT id, xmin::text FROM multimodal_items ORDER BY id"
    with connect(demo.url) as connection:
        before = connection.execute(query).fetchall()
        again = demo.run("demo")
        assert again.returncode == 0, again.stderr
        assert "0 added, 0 changed" in again.stdout
        assert connection.execute(query).fetchall() == before
        assert len(before) >= 2000


def test_the_contact_sheet_needs_nothing_but_itself(demo: Demo) -> None:
    page = (demo.folder / "contact-sheet.html").read_text(encoding="utf-8")
    assert str(demo.folder / "contact-sheet.html") in demo.first.stdout
    assert len(re.findall(r'src="data:image/', page)) >= 20
    assert not re.findall(r'(?:src|href)="(?!data:)', page)


def test_a_stored_item_finds_ten_of_the_other_modality_by_the_index(demo: Demo) -> None:
    query = """
        SELECT id FROM multimodal_items WHERE modality = %s
        ORDER BY embedding <=> (SELECT embedding FROM multimodal_items
                                WHERE modality = %s AND metadata->>'name' = 'pizza' LIMIT 1)
        LIMIT 10
    """
    with connect(demo.url) as connection:
        for wanted, given in (("image", "text"), ("text", "image")):
            assert len(connection.execute(query, (wanted, given)).fetchall()) == 10
            plan = connection.execute(
                "EXPLAIN " + query.replace("%s", "'{}'").format(wanted, given)
            ).fetchall()
            lines = "\n".join(row[0] for row in plan)
            assert re.search(rf"Index Scan using multimodal_items_{wanted}_s\d+_embedding", lines)


def test_it_does_not_mix_its_pictures_into_another_models_space(run: Run, url: str) -> None:
    done = run("demo", DATABASE_URL=url)
    assert done.returncode == 1
    assert "the demonstration does not mix its pictures into it" in done.stderr
    with connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM source_items").fetchone() == (0,)


def test_the_wheel_alone_runs_the_demonstration_from_an_empty_folder(
    tmp_path: Path, server: EmbeddedServer
) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", tmp_path, ROOT],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    environment = tmp_path / "an environment"
    venv.create(environment, with_pip=True)
    python = environment / "bin/python"
    install = [python, "-m", "pip", "install", "-q", "--no-deps", *tmp_path.glob("*.whl")]
    subprocess.run(install, check=True, capture_output=True)
    # The dependencies come from the environment of the tests: 5 GB need no second copy. Last on
    # the path, so that the package itself is the wheel's.
    site = Path(next(p for p in sys.path if p.endswith("site-packages")))
    (environment / "lib" / site.parent.name / "site-packages/dependencies.pth").write_text(
        f"{site}\n"
    )
    empty = tmp_path / "an empty folder"
    empty.mkdir()
    home = server.status().data.parent.with_name("wheel-home")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL"))}
    clean["PIPELINE_HOME"] = str(home)
    script = environment / "bin/pipeline"
    where = subprocess.run(
        [python, "-c", "import pipeline; print(pipeline.__file__)"],
        cwd=empty, env=clean, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert where.stdout.startswith(str(environment))
    try:
        done = subprocess.run(
            [script, "demo"],
            cwd=empty, env=clean, capture_output=True, text=True, check=False, timeout=280,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "text to image" in done.stdout
        assert [path.name for path in empty.iterdir()] == ["contact-sheet.html"]
    finally:
        subprocess.run([script, "db", "stop"], cwd=empty, env=clean, check=True)


@pytest.mark.parametrize("target", ["demo", "test", "check", "help"])
def test_make_knows_the_target(target: str) -> None:
    done = subprocess.run(
        ["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
