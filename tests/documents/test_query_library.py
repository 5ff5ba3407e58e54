"""Every file of sql/queries: psql runs it as it is, it finds rows, and by the index it names."""

import csv
import hashlib
import io
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.postgres.urls import libpq_url
from pipeline.search.serve import QueryServer
from pipeline.vectors import Vectors
from tests.helpers.fakes import FakeEmbedder
from tests.helpers.two_cones import cones, cones_url

pytestmark = pytest.mark.timeout(900)  # the first test builds two HNSW indexes

FOLDER = Path(__file__).parents[2] / "sql" / "queries"
FILES = sorted(FOLDER.glob("*.sql"))
ROWS = {  # where it is not the 10 of most files
    "counts_per_label": range(1, 4),
    "coverage": [3],
    "drift_of_mean": [2],
    "full_text_only": [3],
    "index_health": [4],
    "ingest_progress": [4],
    "join_business_table": range(1, 11),
    "materialised_neighbours": [100],
    "near_duplicates": range(1, 10_000),
    "nearest_text_to_each_image": [20],
    "recall_spot_check": [1],
    "top_k_per_group": [15],
    "zero_shot_labels": [3],
    "zero_shot_lateral": [20],
}
STRICT = ("-v", "ON_ERROR_STOP=1")
PLANS = {  # what the header calls an index -> what EXPLAIN shows of it
    "HNSW of the images": r"multimodal_items_image_s\d+_embedding",
    "HNSW of the texts": r"multimodal_items_text_s\d+_embedding",
    "GIN of the metadata": r"Bitmap Index Scan on multimodal_items_image_s\d+_metadata",
    "GIN of the words": r"Bitmap Index Scan on source_items_document",
    "source item of the items": r"multimodal_items_image_s\d+_source_part_unique",
    "inside": r"Function Scan on \w+",
    "none": "",
}


class AnyText(FakeEmbedder):
    """Gives every text the vector of one of the prepared queries."""

    def embed(self, contents: list[bytes]) -> Vectors:
        numbers = [hashlib.sha256(text).digest()[0] % 200 for text in contents]
        vectors: Vectors = cones().queries[numbers]
        return vectors


@pytest.fixture(scope="module")
def library_url(server: EmbeddedServer, template: str) -> Iterator[str]:
    url = cones_url(server.url(), template)
    with connect(url) as connection:
        connection.execute(
            "CREATE TABLE products AS SELECT n::text AS source_key, n % 90 + 0.99 AS price, "
            "n % 3 AS stock FROM generate_series(0, 19999) AS n"
        )
    queries = QueryServer(url, lambda _: AnyText())
    thread = threading.Thread(target=queries.run)
    thread.start()
    assert queries.ready.wait(60)
    yield url
    queries.stop()
    thread.join(60)
    with connect(url) as connection:
        connection.execute("DROP TABLE products")


@pytest.fixture(scope="module")
def library(library_url: str) -> Iterator[Connection]:
    with connect(library_url) as connection:
        yield connection


def header(file: Path) -> dict[str, str]:
    return dict(re.findall(r"^-- (question|parameters|index): +(.+)$", file.read_text(), re.M))


def statement(file: Path) -> str:
    """The file's query with the values that its own \\set lines give."""
    text = file.read_text()
    values = {
        name: value.removeprefix("'").removesuffix("'")
        for name, value in re.findall(r"^\\set (\w+) (.+)$", text, re.M)
    }
    text = re.sub(r"^\\set .*$", "", text, flags=re.M)
    text = re.sub(r":'(\w+)'", lambda m: "'" + values[m[1]].replace("'", "''") + "'", text)
    return re.sub(r"(?<![:\w]):([a-z_]+)\b", lambda m: values[m[1]], text)


def test_there_are_enough_and_the_readme_lists_them() -> None:
    assert len(FILES) >= 25
    listed = re.findall(r"\(queries/(\w+)\.sql\)", (FOLDER.parent / "README.md").read_text())
    assert sorted(listed) == [file.stem for file in FILES]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_runs_in_psql_and_finds_rows(
    file: Path, library_url: str, server: EmbeddedServer
) -> None:
    assert set(header(file)) == {"question", "parameters", "index"}
    done = subprocess.run(
        [server.binary("psql"), libpq_url(library_url), "-Xqf", file, "--csv", *STRICT],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) in ROWS.get(file.stem, [10])
    for row in rows:
        for name in ("similarity", "distance", "score"):
            assert row.get(name) != "", f"{name} is null"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_uses_the_index_that_it_names(file: Path, library: Connection) -> None:
    rows = library.execute(f"EXPLAIN {statement(file)}".encode()).fetchall()
    plan = "\n".join(row[0] for row in rows)
    named = [part for part in PLANS if part in header(file)["index"]]
    assert named, f"{header(file)['index']} is unknown"
    for part in named:
        assert re.search(PLANS[part], plan), plan


def test_the_recall_spot_check_is_high(library: Connection) -> None:
    row = library.execute(statement(FOLDER / "recall_spot_check.sql").encode()).fetchone()
    assert row is not None
    assert row[0] >= 0.9
