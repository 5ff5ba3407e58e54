"""`pipeline demo`: from nothing to text that finds images and images that find text."""

import json
import os
import re
import shlex
import subprocess
import sys
import venv
from html import unescape
from pathlib import Path
from textwrap import indent

import pytest

from pipeline.demo.next_steps import NEAREST_IMAGES
from pipeline.postgres.connections import connect
from pipeline.postgres.embedded import EmbeddedServer
from tests.helpers.command import Demo, Run, pipeline

ROOT = Path(__file__).parents[2]


def test_it_answers_in_every_direction_and_says_how_to_go_on(demo: Demo) -> None:
    printed = demo.first.stdout
    for direction in (
        "text to image", "image to text", "image to image", "text to text", "mixed",
    ):  # fmt: skip
        assert f"{direction}: " in printed
    assert "db psql" in printed
    assert printed.count("SELECT") >= 3
    # Before anything else: rows of their own would get vectors of the demonstration's model.
    after = printed.partition("How to go on")[2]
    assert after.index("--model ViT-B-32/laion2b_s34b_b79k") < after.index("db psql")
    assert after.index("export DATABASE_URL=") < after.index(" add your/images")


def test_the_psql_line_it_prints_connects_and_its_statements_run(
    demo: Demo, server: EmbeddedServer
) -> None:
    after = demo.first.stdout.partition("How to go on")[2]
    line = shlex.split(re.findall(r"^  (psql '.*)$", after, re.MULTILINE)[0])
    line[0] = str(server.binary("psql"))
    statements = re.findall(r"^    (?:SELECT|--).*?;$", after, re.DOTALL | re.MULTILINE)
    assert len(statements) == 3
    for statement in statements:
        done = subprocess.run(
            [*line, "-X", "-At", "-c", statement], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


def test_mixed_results_are_sorted_by_the_score_they_show(demo: Demo) -> None:
    table = demo.first.stdout.partition("mixed: ")[2].partition("contact sheet")[0]
    assert "Sorted by score" in table
    scores = [float(n) for n in re.findall(r"^ +\d+ +(-?\d\.\d+) +-?\d\.", table, re.MULTILINE)]
    assert len(scores) == 5
    assert scores == sorted(scores, reverse=True)


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


def test_the_contact_sheet_says_what_its_numbers_are_and_how_to_ask_the_same(demo: Demo) -> None:
    page = (demo.folder / "contact-sheet.html").read_text(encoding="utf-8")
    assert "1,297 drawings and 1,297 captions" in page
    assert "Model: demo" in page
    assert "the cosine of the angle" in page
    assert "the image of a guitar" in page
    statements = re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)
    assert len(statements) == page.count("<section>") == 8
    shown = re.findall(r"<ol>(.*?)</ol>", page, re.DOTALL)
    with connect(demo.url) as connection:
        for statement, cards in zip(statements, shown, strict=True):
            found = connection.execute(unescape(statement)).fetchall()
            numbers = re.findall(r"<span>(\d+) &middot; (?:score )?(-?[\d.]+)", cards)
            assert numbers == [(str(rank), f"{number:.3f}") for rank, _, number in found]


def test_a_sheet_that_cannot_be_written_is_refused_before_the_work(
    run: Run, tmp_path: Path
) -> None:
    for place, reason in (
        (tmp_path / "nowhere/x.html", "there is no folder"),
        (tmp_path, "folder"),
    ):
        done = run("demo", "--sheet", str(place))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"pipeline: the contact sheet cannot be written to {place}")
        assert reason in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_stored_item_finds_ten_of_the_other_modality_by_the_index(demo: Demo) -> None:
    """The statement that the demonstration prints, in both directions."""
    assert indent(NEAREST_IMAGES, "    ") in demo.first.stdout
    turned = NEAREST_IMAGES.replace("'image'", "''").replace("'text'", "'image'")
    turned = turned.replace("''", "'text'")
    with connect(demo.url) as connection:
        for query, wanted in ((NEAREST_IMAGES, "image"), (turned, "text")):
            rows = connection.execute(query).fetchall()
            assert len(rows) == 10
            assert rows[0][0] == "pizza"
            lines = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {query}"))
            assert re.search(rf"Index Scan using multimodal_items_{wanted}_s\d+_embedding", lines)
            assert "Seq Scan" not in lines, lines


def test_rows_of_the_persons_own_are_not_its_concern(empty_url: str, tmp_path: Path) -> None:
    """One that is embedded and one that cannot be, added before it first runs."""
    broken = tmp_path / "broken.jpg"
    broken.touch()
    migrated = pipeline(tmp_path, "migrate", "--model", "demo", DATABASE_URL=empty_url)
    assert migrated.returncode == 0, migrated.stderr
    assert (
        pipeline(
            tmp_path, "add", str(broken), "--text", "a red kite", DATABASE_URL=empty_url
        ).returncode
        == 0
    )
    done = pipeline(tmp_path, "demo", DATABASE_URL=empty_url)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^embedded +2594 rows in ", done.stdout, re.MULTILINE)
    assert re.search(r"^beside them +2 rows of yours, 1 of them not", done.stdout, re.MULTILINE)
    assert done.stderr.count("warning: your rows wait for the demonstration's model") == 1
    page = (tmp_path / "contact-sheet.html").read_text(encoding="utf-8")
    assert "1,297 drawings and 1,297 captions" in page
    # Only they are due now: the demonstration leaves them to `pipeline ingest`.
    with connect(empty_url) as connection:
        connection.execute("UPDATE source_items SET content_ref = 'a kite' WHERE source = 'files'")
    again = pipeline(tmp_path, "demo", DATABASE_URL=empty_url)
    assert again.returncode == 0, again.stderr
    assert re.search(r"^embedded +0 rows$", again.stdout, re.MULTILINE)
    assert "2 of them not embedded" in again.stdout
    assert "warning" not in again.stderr


def test_samples_that_cannot_be_embedded_are_its_failure(demo: Demo) -> None:
    with connect(demo.url) as connection:
        connection.execute(
            """
            INSERT INTO ingest_jobs (space_id, source_id, state, error_code, error)
            SELECT space.id, item.id, 'failed', 'not_an_image', 'damaged'
            FROM embedding_spaces AS space, source_items AS item
            WHERE item.source_key = 'pizza#image'
            """
        )
        try:
            done = demo.run("demo")
        finally:
            connection.execute("DELETE FROM ingest_jobs")
    assert done.returncode == 1
    assert "pipeline: 1 of the sample rows could not be embedded; see" in done.stderr


def test_it_does_not_mix_its_pictures_into_another_models_space(run: Run, url: str) -> None:
    done = run("demo", DATABASE_URL=url)
    assert done.returncode == 1
    assert "the demonstration does not mix its images into it" in done.stderr
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
