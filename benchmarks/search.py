"""How quick and how good the searches are: ratios within one run, since machines differ.

    python benchmarks/search.py [--queries 200]

Builds 20,000 texts and 20,000 images with a modality gap (tests/helpers/two_cones.py) in an
embedded server of its own, and prints the tables of docs/search-quality.md.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.index_growth import processor_seconds
from pipeline.embedders.openclip.embedder import MultimodalEmbedder
from pipeline.modalities import TEXT
from pipeline.postgres import migrate
from pipeline.postgres.connections import Connection, connect
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.search.serve import QueryServer
from pipeline.vectors import Vectors
from tests.helpers.demo_pairs import ndcg, store_demo_pairs
from tests.helpers.two_cones import FIRST_IMAGE, cones_url

COLUMNS = "id, source_id, part, modality, content_ref, metadata"
BARE = f"""
    SELECT {COLUMNS}, 1 - (embedding <=> text_embedding(%(query)s)) FROM multimodal_items
    WHERE modality = 'image' ORDER BY embedding <=> text_embedding(%(query)s) LIMIT 10
"""  # noqa: S608
STATEMENTS = {
    "text_embedding(), cached": "SELECT text_embedding(%(query)s) IS NULL",
    "plain SQL, images only table": BARE.replace("multimodal_items", "images_only"),
    "plain SQL, the partitioned table": BARE,
    "search_items(), images": "SELECT * FROM search_items(%(query)s, modality => '{image}')",
    "search_items(), both, raw": "SELECT * FROM search_items(%(query)s, ranking => 'raw')",
    "search_items(), both, calibrated": "SELECT * FROM search_items(%(query)s)",
    "search_items(), 1 % filter": """
        SELECT * FROM search_items(%(query)s, filter => '{"hundredth": true}')
    """.replace("%(", "%%(").replace("%%(", "%("),
}


def timed(work: Callable[[], object]) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


def all_of(connection: Connection, statement: str, values: Any) -> list[Any]:
    return connection.execute(statement.encode(), values).fetchall()


def latencies(connection: Connection, queries: int) -> dict[str, list[float]]:
    """Every statement for every query, interleaved, so that a busy machine harms all alike."""
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for number in range(-10, queries):  # ten rounds to warm up
        for name, statement in STATEMENTS.items():
            values = {"query": f"query {number % 200}"}
            taken = timed(partial(all_of, connection, statement, values))
            if number >= 0:
                times[name].append(taken)
    return times


def processor_ms(connection: Connection, statement: str, queries: int) -> float:
    """Of the server, for one query: what others do on the machine shows less there."""
    before = processor_seconds(connection)
    for number in range(queries):
        all_of(connection, statement, {"query": f"query {number % 200}"})
    return 1000 * (processor_seconds(connection) - before) / queries


class Timed:
    """The demo model's encoder of texts, with a note of how long each call took."""

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder
        self.split = encoder.split
        self.times: list[float] = []

    def prepare(self, contents: Sequence[str]) -> Any:
        self._began = time.perf_counter()
        return self.encoder.prepare(contents)

    def embed(self, inputs: Any, role: str = "item") -> Vectors:
        vectors: Vectors = self.encoder.embed(inputs, role)
        self.times.append(1000 * (time.perf_counter() - self._began))
        return vectors


def first_answers(url: str, count: int) -> tuple[list[float], list[float]]:
    """Milliseconds of the first text_embedding() of a new text, and of the model's part of it."""
    embedder = MultimodalEmbedder("demo")
    model = Timed(embedder.encoders[TEXT.name])
    encoders: dict[str, Any] = {TEXT.name: model}
    embedder.encoders = encoders
    server = QueryServer(url, lambda _: embedder)
    thread = threading.Thread(target=server.run)
    thread.start()
    server.ready.wait(60)
    try:
        with connect(url) as connection:
            connection.execute("SELECT text_embedding('to warm up')")
            model.times.clear()
            answers = [
                timed(partial(all_of, connection, "SELECT text_embedding(%s)", (f"new {n}",)))
                for n in range(count)
            ]
    finally:
        server.stop()
        thread.join()
    return answers, model.times


def rankings(connection: Connection, queries: int) -> None:
    print("\n| ranking | overall | stored as text | stored as image |\n|---|---|---|---|")
    for ranking in ("raw", "calibrated", "quota"):
        found = ndcg(connection, ranking, queries)
        print(
            f"| {ranking} | {found['overall']:.3f} | {found['text']:.3f} | {found['image']:.3f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--queries", type=int, default=200)
    arguments = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="pipeline-benchmark-"))
    home.chmod(0o755)
    server = EmbeddedServer(home / "home")
    try:
        measure(server.start(), arguments.queries)
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


def measure(server_url: str, queries: int) -> None:
    with connect(server_url) as admin:
        admin.execute("CREATE DATABASE migrated")
    migrate.upgrade(server_url.replace("/pipeline?", "/migrated?"))
    url = cones_url(server_url, "migrated", 20_000)
    with connect(url) as connection:
        connection.execute("CREATE TABLE images_only (LIKE multimodal_items INCLUDING DEFAULTS)")
        connection.execute(
            "INSERT INTO images_only SELECT * FROM multimodal_items WHERE modality = 'image'"
        )
        connection.execute("CREATE INDEX ON images_only USING hnsw (embedding halfvec_cosine_ops)")
        connection.execute("VACUUM ANALYZE images_only")
        times = latencies(connection, queries)
        medians = {name: statistics.median(values) for name, values in times.items()}
        base = medians["plain SQL, images only table"]
        print("| statement | p50 ms | ratio to the images only table |\n|---|---|---|")
        for name, median in medians.items():
            print(f"| {name} | {median:.2f} | {median / base:.2f} |")
        differences = [
            mine - bare
            for mine, bare in zip(
                times["search_items(), images"],
                times["plain SQL, the partitioned table"],
                strict=True,
            )
        ]
        print(f"\nsearch_items() over plain SQL, median: {statistics.median(differences):.2f} ms")
        for name in ("plain SQL, the partitioned table", "search_items(), images"):
            took = processor_ms(connection, STATEMENTS[name], 5 * queries)
            print(f"{name}: {took:.2f} ms of the processor")
        with connection.transaction(force_rollback=True):
            for modality, first, other in (("image", FIRST_IMAGE, 1), ("text", 1, 0)):
                connection.execute(
                    "DELETE FROM multimodal_items WHERE modality = %s AND source_id < %s + 200 "
                    "AND (source_id - %s) %% 2 = %s",
                    (modality, first, first, other),
                )
            print("\nNDCG@10, generated gap:")
            rankings(connection, 200)
    demo_url = server_url.replace("/pipeline?", "/migrated?")
    with connect(demo_url) as connection:
        print("\nNDCG@10, the demonstration's pairs:")
        rankings(connection, store_demo_pairs(connection, 1000))
    answers, model = first_answers(demo_url, 30)
    extra = [whole - own for whole, own in zip(answers, model, strict=True)]
    print(
        f"\nfirst answer: {statistics.median(answers):.0f} ms, of which the model "
        f"{statistics.median(model):.0f} ms; the rest at most {max(extra):.0f} ms"
    )


if __name__ == "__main__":
    main()
