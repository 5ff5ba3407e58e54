"""A plug-in that breaks its contract costs a row or is refused in a sentence; none hangs a run."""

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from pipeline import modalities, spaces
from pipeline.embedders.isolation import embed_isolating
from pipeline.errors import ModelError, RowError
from pipeline.ingest.report import IngestReport
from pipeline.ingest.worker import Worker
from pipeline.modalities import Decoded, Encoder, Part, ReadOptions, Role
from pipeline.postgres.connections import Connection
from pipeline.queue import failures
from pipeline.search.query_encoding import embed_query, embed_query_texts
from pipeline.settings import Settings
from pipeline.spaces import Space, opening, probes
from pipeline.vectors import Vectors
from tests.helpers.digits import Digits, DigitsEmbedder
from tests.helpers.fakes import FakeEmbedder, FakeTexts, add_texts
from tests.helpers.workers import content, make_worker, work


class Partless(Digits):
    """Finds no part in what it decodes."""

    def parts(self, decoded: Decoded, encoder: Encoder, options: ReadOptions) -> list[Part]:
        return []


@pytest.fixture
def partless() -> Iterator[Partless]:
    modality = Partless()
    modalities.register(modality)
    yield modality
    modalities.unregister(modality.name)


def ends(worker: Worker) -> IngestReport:
    """The report of a run that comes to its end; a run that does not is stopped and fails."""
    ended: list[IngestReport | BaseException] = []

    def run() -> None:
        try:
            ended.append(worker.run())
        except BaseException as exc:
            ended.append(exc)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    worker.stop()
    assert ended, "the worker never ended"
    if isinstance(ended[0], BaseException):
        raise ended[0]
    return ended[0]


def test_content_without_a_part_fails_its_row_and_ends_the_run(
    connection: Connection, space: Space, settings: Settings, partless: Partless
) -> None:
    embedder = DigitsEmbedder()
    connection.execute("UPDATE embedding_spaces SET fingerprint = 'another' WHERE id = 1")
    digits = spaces.create(connection, "digits", embedder)
    add_texts(connection, ["a text"])
    connection.execute(
        "INSERT INTO source_items (source, source_key, modality, content_ref) "
        "VALUES ('test', 'none', 'digits', '/none.digits')"
    )
    worker = make_worker(settings, digits, embedder, load=lambda ref: content(b"digits\n1 2\n"))
    report = ends(worker)
    assert (report.done, report.failed) == (1, 1)
    (failure,) = failures.grouped(connection, digits.id)
    assert failure.code == "empty_file"


def test_a_query_and_a_probe_without_a_part_are_refused(partless: Partless) -> None:
    with pytest.raises(RowError, match="nothing in it"):
        embed_query(DigitsEmbedder(), partless, Decoded([np.ones(8, np.float32)]))
    with pytest.raises(RowError, match="nothing in it"):
        probes.embed(probes.inputs(["digits"]), DigitsEmbedder())


class Encoding(FakeTexts):
    """An encoder of texts that does something else with the rows of the fake."""

    def __init__(self, model: FakeEmbedder, *, most_inputs: int = 8192, change: Any = None) -> None:
        super().__init__(model)
        self.most_inputs = most_inputs
        self.change = change or (lambda rows: rows)

    def embed(self, inputs: Sequence[Any], role: Role = "item") -> Vectors:
        rows: Vectors = self.change(super().embed(inputs, role))
        return rows


def with_texts(**changes: Any) -> FakeEmbedder:
    embedder = FakeEmbedder()
    embedder.encoders["text"] = Encoding(embedder, **changes)
    return embedder


@pytest.mark.parametrize("most", [0, -1])
def test_an_encoder_that_takes_no_input_is_refused(
    connection: Connection, space: Space, settings: Settings, most: int
) -> None:
    embedder = with_texts(most_inputs=most)
    with pytest.raises(ModelError, match=f"most_inputs.*{most}"):
        opening._check_encoders(space, embedder)
    add_texts(connection, ["a text"])
    with pytest.raises(ModelError, match=f"most_inputs.*{most}"):
        ends(make_worker(settings, space, embedder))


# Too few rows, too many, and one for all.
WRONG_COUNTS = {
    "too few": lambda rows: rows[:-1] if len(rows) > 1 else np.concatenate([rows, rows]),
    "too many": lambda rows: np.concatenate([rows, rows[:1]]),
    "none": lambda rows: rows[:0],
    "no rows": lambda rows: rows[0],
}


@pytest.mark.parametrize("change", WRONG_COUNTS.values(), ids=WRONG_COUNTS)
def test_no_query_gets_the_vector_of_another(change: Any) -> None:
    embedder = with_texts(change=change)
    with pytest.raises(ModelError, match="for 3 inputs"):
        embed_query_texts(embedder, {1: "one", 2: "two", 3: "three"})
    with pytest.raises(ModelError, match="for 1 inputs"):
        embed_query_texts(embedder, {1: "one"})
    with pytest.raises(ModelError, match="inputs"):
        probes.embed(probes.inputs(["text"]), embedder)


@pytest.mark.parametrize("change", WRONG_COUNTS.values(), ids=WRONG_COUNTS)
def test_no_row_gets_the_vector_of_another(
    connection: Connection, space: Space, settings: Settings, change: Any
) -> None:
    add_texts(connection, ["one", "two", "three"])
    with pytest.raises(ModelError, match="for 3 inputs"):
        work(settings, space, with_texts(change=change))
    assert connection.execute("SELECT count(*) FROM multimodal_items").fetchone() == (0,)


def test_rows_of_another_length_are_refused_at_the_probes_by_their_length(
    connection: Connection, space: Space, settings: Settings
) -> None:
    embedder = with_texts(change=lambda rows: rows * 2)
    with pytest.raises(ModelError, match=r"text.*length 2\.0.*unit_rows"):
        probes.store(connection, space, embedder)
    add_texts(connection, ["one"])
    work(settings, space, embedder)
    (failure,) = failures.grouped(connection, space.id)
    assert failure.code == "bad_vector"
    assert "length 2.0" in failure.error
    assert "no direction" not in failure.error


@pytest.mark.parametrize("change", WRONG_COUNTS.values(), ids=WRONG_COUNTS)
def test_a_wrong_number_of_rows_is_of_no_input_and_refused(change: Any) -> None:
    def embed(inputs: Sequence[Any]) -> Vectors:
        rows: Vectors = change(np.eye(8, dtype=np.float32)[: len(inputs)])
        return rows

    with pytest.raises(ModelError, match="for 3 inputs"):
        embed_isolating(embed, ["one", "two", "three"])
