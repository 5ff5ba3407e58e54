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
    "materialised_neighbours": [50],
    "near_duplicates": range(1, 10_000),
    "nearest_text_to_each_image": [10],
    "recall_spot_check": [1],
    "top_k_per_group": [15],
    "zero_shot_labels": [3],
    "zero_shot_lateral": [20],
}
GIVEN = {  # what the demonstration's rows have and these have not
    "counts_per_label": {"filter": '{"tenth": true}'},
    "full_text_only": {"words": "number 77 or number 78 or number 79"},
    "hybrid": {"query": "picture number 77"},
    "materialised_neighbours": {"filter": '{"thousandth": true}'},
    "metadata_filter": {"key": "category", "value": "boats"},
    "metadata_filter_plain": {"filter": '{"hundredth": true}'},
    "near_duplicates": {"filter": '{"hundredth": true}'},
    "nearest_text_to_each_image": {"filter": '{"thousandth": true}'},
    "similarity_of_pairs": {"pair": "number"},
    "top_k_per_group": {"key": "category"},
}
PLANS = {  # what the header calls an index -> what EXPLAIN shows of it
    "HNSW of the images": r"multimodal_items_image_s\d+_embedding",
    "HNSW of the texts": r"multimodal_items_text_s\d+_embedding",
    "GIN of the metadata": r"Bitmap Index Scan on multimodal_items_image_s\d+_metadata",
    "GIN of the words": r"Bitmap Index Scan on source_items_document",
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
    queries = QueryServer(url, lambda _: AnyText())
    thread = threading.Thread(target=queries.run)
    thread.start()
    assert queries.ready.wait(60)
    yield url
    queries.stop()
    thread.join(60)


def header(file: Path) -> dict[str, str]:
    return dict(re.findall(r"^-- (question|parameters|index): +(.+)$", file.read_text(), re.M))


def asked(program: Path, url: str, file: Path, *, explain: bool = False) -> str:
    """What psql prints of the file, with the parameters of these rows; of its plan instead."""
    head, _, query = file.read_text(encoding="utf-8").partition("\n\n")
    given = GIVEN.get(file.stem, {}) | {"ON_ERROR_STOP": "1"}
    done = subprocess.run(
        [program, libpq_url(url), "-Xqf", "-", "-At" if explain else "--csv",
         *(part for name, value in given.items() for part in ("-v", f"{name}={value}"))],
        input=f"{head}\n{'EXPLAIN ' if explain else ''}{query}",
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_are_enough_and_the_readme_lists_them() -> None:
    assert len(FILES) >= 25
    listed = re.findall(r"\(queries/(\w+)\.sql\)", (FOLDER.parent / "README.md").read_text())
    assert sorted(listed) == [file.stem for file in FILES]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_runs_in_psql_and_finds_rows(
    file: Path, library_url: str, server: EmbeddedServer
) -> None:
    assert set(header(file)) == {"question", "parameters", "index"}
    printed = asked(server.binary("psql"), library_url, file)
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert len(rows) in ROWS.get(file.stem, [10])
    for row in rows:
        for name in ("similarity", "distance", "score"):
            assert row.get(name) != "", f"{name} is null"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_uses_the_index_that_it_names(
    file: Path, library_url: str, server: EmbeddedServer
) -> None:
    plan = asked(server.binary("psql"), library_url, file, explain=True)
    named = [part for part in PLANS if part in header(file)["index"]]
    assert named, f"{header(file)['index']} is unknown"
    for part in named:
        assert re.search(PLANS[part], plan), plan


def test_the_recall_spot_check_is_high(library_url: str, server: EmbeddedServer) -> None:
    file = FOLDER / "recall_spot_check.sql"
    assert float(asked(server.binary("psql"), library_url, file).split()[1]) >= 0.9
