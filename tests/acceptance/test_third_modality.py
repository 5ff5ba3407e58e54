"""A modality that no file of the package knows goes through every command.

It is one object and one encoder (``tests/helpers/digits.py``), made known to the process as a
plug-in would be.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.compute as compute
import pyarrow.parquet as parquet
import pytest

from pipeline.postgres.connections import Connection, connect
from tests.helpers.command import Done

PLUG_IN = "from tests.helpers.digits import install; install()"
ORM = f"""
{PLUG_IN}
import numpy
from sqlalchemy.orm import Session
from pipeline import UnifiedIndex, nearest_to
from pipeline.postgres.database import Database
from pipeline.postgres.engines import create_engine
from pipeline.settings import Settings
vector = numpy.eye(8)[2]
with Session(create_engine(Database.of(Settings.load()).url)) as session:
    print(session.scalars(nearest_to(vector, modality="digits").limit(1)).one().content_ref)
with UnifiedIndex() as index:
    found = index.retrieve_cross_modal([vector.astype("float32")], 1, "digits")
print(found[0].document.modality.name, found[0].document.content_ref)
"""
FILES = {
    "one": "digits\n1 0 0 0 0 0 0 0\n",
    "two": "digits\n0 1 0 0 0 0 0 0\n",
    "three": "digits\n0 0 1 0 0 0 0 0\n0 0 0 1 0 0 0 0\n",
}


class Plugged:
    """``pipeline`` with the plug-in, on a database and in a folder of its own."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url

    def __call__(self, *arguments: str, code: int = 0) -> Done:
        done = self.python(f"{PLUG_IN}; from pipeline.cli import main; main()", *arguments)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def python(self, program: str, *arguments: str) -> Done:
        return subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=self.folder,
            env={
                **os.environ,
                "DATABASE_URL": self.url,
                "PIPELINE_HOME": str(self.folder / "home"),
                "PIPELINE_MODEL": "fake",
                "PYTHONPATH": str(Path(__file__).parents[2]),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code).stdout)


@pytest.fixture(scope="module")
def plugged(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Plugged:
    """A database with three files of digits and the texts that belong to them, embedded."""
    with connect(server.url()) as admin:
        admin.execute("CREATE DATABASE third_modality")
    folder = tmp_path_factory.mktemp("digits")
    url = server.url("third_modality")
    for name, content in FILES.items():
        (folder / f"{name}.digits").write_text(content)
    rows = "".join(f"{name},{name} of them,{name}.digits\n" for name in FILES)
    (folder / "rows.csv").write_text(f"key,text,digits\n{rows}")
    pipeline = Plugged(folder, url)
    pipeline("migrate")
    added = pipeline.json("add", "rows.csv", "--source", "test")
    assert (added["added"], added["errors"]) == (6, [])
    report = pipeline.json("ingest")
    assert (report["done"], report["failed"], report["items"]) == (6, 0, 7)
    return pipeline


@pytest.fixture
def database(plugged: Plugged) -> Connection:
    return connect(plugged.url)


def test_every_part_has_its_vector_and_its_notes(database: Connection) -> None:
    with database:
        rows = database.execute(
            "SELECT part, content_ref, metadata->'_pipeline', embedding::text "
            "FROM multimodal_items WHERE modality = 'digits' ORDER BY content_ref, part"
        ).fetchall()
    assert [(Path(ref).stem, part) for part, ref, *_ in rows] == [
        ("one", 0), ("three", 0), ("three", 1), ("two", 0)
    ]  # fmt: skip
    assert (rows[2][2]["lines"], rows[2][2]["line"]) == (2, 2)
    assert rows[2][3] == "[0,0,0,1,0,0,0,0]"


def test_the_space_has_its_table_its_probes_and_its_counts(
    plugged: Plugged, database: Connection
) -> None:
    counts = {row["modality"]: row["items"] for row in plugged.json("status")}
    assert counts == {"text": 3, "image": 0, "digits": 4}
    with database:
        rows = database.execute(
            "SELECT modality, count(*) FROM space_probes GROUP BY modality"
        ).fetchall()
        assert dict(rows)["digits"] == 2
        names = database.execute("SELECT name FROM known_modalities").fetchall()
        assert ("digits",) in names


def test_search_by_a_file_by_an_item_by_a_text_and_by_sql(
    plugged: Plugged, database: Connection
) -> None:
    asked = ("--file", "two.digits", "--as", "digits")
    found = plugged.json("search", *asked, "--modality", "digits")
    assert found[0]["content_ref"].endswith("/two.digits")
    assert found[0]["similarity"] == pytest.approx(1, abs=1e-3)
    again = plugged.json("search", "--item", str(found[0]["id"]), "-m", "digits")
    assert again[0]["content_ref"] != found[0]["content_ref"]  # not the item itself
    mixed = plugged.json("search", "one of them")
    assert {row["modality"] for row in mixed} == {"text", "digits"}
    with database:
        row = database.execute(
            "SELECT id FROM search_items(embedding => '[0,1,0,0,0,0,0,0]', "
            "modality => '{digits}') LIMIT 1"
        ).fetchone()
    assert row == (found[0]["id"],)


def test_eval_and_tune_measure_every_pair_of_modalities(plugged: Plugged) -> None:
    retrieval = plugged.json("eval", "retrieval", "--pairs", "pair")[0]
    directions = {(d["query_modality"], d["item_modality"]) for d in retrieval["directions"]}
    assert {("text", "digits"), ("digits", "text")} <= directions
    recall = plugged.json("eval", "recall", "-k", "2", "--no-filters")["results"]
    assert {r["query_modality"] for r in recall} == {"text", "digits"}
    tuned = plugged.json("tune", "-k", "2")["pairs"]
    assert ("digits", "text") in {(t["query_modality"], t["item_modality"]) for t in tuned}


def test_the_map_shows_it(plugged: Plugged) -> None:
    plugged("map", "map.svg")
    assert "digits (4)" in (plugged.folder / "map.svg").read_text()


def test_the_doctor_has_nothing_to_say_against_it(plugged: Plugged) -> None:
    checks = {check["name"]: check for check in plugged.json("doctor", "--model")}
    assert all(check["ok"] for check in checks.values())


def test_a_file_that_changed_is_found_and_embedded_again(plugged: Plugged) -> None:
    file = plugged.folder / "one.digits"
    before = file.read_text()
    try:
        file.write_text("digits\n0 0 0 0 0 0 0 5\n")
        assert plugged.json("rescan")["changed"] == 1
        assert plugged.json("ingest")["done"] == 1
        found = plugged.json("search", "--file", "one.digits", "-m", "digits")
        assert found[0]["similarity"] == pytest.approx(1, abs=1e-3)
    finally:
        file.write_text(before)
        plugged("rescan")
        plugged("ingest")


def test_a_bad_file_fails_alone_and_says_why(plugged: Plugged) -> None:
    (plugged.folder / "bad.digits").write_text("digits\nhello\n")
    (plugged.folder / "long.bin").write_text("digits\n1 2 3 4 5 6 7 8 9\n")
    try:
        plugged("add", "bad.digits", "long.bin", "--modality", "digits")
        assert plugged.json("ingest", code=1)["failed"] == 2
        failures = {Path(f["source_key"]).name: f for f in plugged.json("failures")}
        assert failures["bad.digits"]["error"].startswith("these are no digits: could not convert")
        assert failures["long.bin"]["error"] == "a line has at most 8 digits"
    finally:
        with connect(plugged.url) as connection:
            connection.execute("DELETE FROM source_items WHERE source = 'files'")


def test_vectors_go_out_and_come_in_again(plugged: Plugged) -> None:
    plugged("space", "export", "fake", "items.parquet")
    table = parquet.read_table(plugged.folder / "items.parquet")
    first_parts = table.filter(compute.equal(table["part"], 0))
    parquet.write_table(first_parts, plugged.folder / "firsts.parquet")
    try:
        done = plugged.json("space", "import", "fake", "firsts.parquet", "--source", "again")
        assert (done["items"], done["new"]) == (6, 6)
        counts = {row["modality"]: row["items"] for row in plugged.json("status")}
        assert counts["digits"] == 7
    finally:
        with connect(plugged.url) as connection:
            connection.execute("DELETE FROM source_items WHERE source = 'again'")


def test_applications_search_it_by_the_orm_and_with_a_query_in_hand(plugged: Plugged) -> None:
    done = plugged.python(ORM)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.endswith("/three.digits")
    assert second == f"DIGITS {first}"


def test_without_the_plug_in_its_space_is_refused_in_a_sentence(plugged: Plugged) -> None:
    done = plugged.python("from pipeline.cli import main; main()", "search", "a text")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "pipeline: the model is of the kind 'fake', and this installation knows remote, "
        "embeddinggemma-2, openclip"
    )
