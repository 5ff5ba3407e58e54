"""The one door to a space's model: who embeds for a space, items or queries, refuses one that
drifted."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.doctor.examination import examine
from pipeline.errors import ModelError, PipelineError
from pipeline.ingest.run import ingest
from pipeline.ingest.space_build import SpaceBuild
from pipeline.postgres.connections import Connection
from pipeline.postgres.database import Database
from pipeline.search.serve import QueryServer
from pipeline.settings import Settings
from pipeline.spaces import Space, opening, probes
from pipeline.spaces.space import list_spaces
from pipeline.unified_index import UnifiedIndex
from tests.helpers.fakes import FAKE_FAMILY, FakeEmbedder, add_texts
from tests.helpers.spaces import described

DRIFTED = r"probes \(image, text\) have a cosine below"


class Drifted(FakeEmbedder):
    """Another model under the description of the first."""

    def embed(self, contents: list[bytes]) -> object:  # type: ignore[override]
        return super().embed([b"drifted " + content for content in contents])


class OtherWeights(FakeEmbedder):
    def __init__(self, dimensions: int = 8) -> None:
        super().__init__(dimensions)
        described(self, weights_sha256="beef")


@pytest.fixture
def probed(connection: Connection, space: Space) -> Space:
    """The active space with its probes, and a row that waits."""
    probes.store(connection, space, FakeEmbedder())
    add_texts(connection, ["a text"])
    return space


@pytest.fixture
def model() -> Iterator[Callable[[type[FakeEmbedder]], None]]:
    """A function that lets the fake's family open this model from now on."""

    def use(made: type[FakeEmbedder]) -> None:
        FAKE_FAMILY.make = made

    yield use
    use(FakeEmbedder)


def run_worker(settings: Settings) -> None:
    ingest(settings)


def run_build(settings: Settings) -> None:
    SpaceBuild(settings, "fake").run()


def search(settings: Settings) -> None:
    with UnifiedIndex(settings) as index:
        index.retrieve_cross_modal("a text nobody asked for")


def serve(settings: Settings) -> None:
    database = Database.of(settings)
    with database.open() as connection:
        connection.execute(
            "INSERT INTO query_embeddings (space_id, query_sha256, query) "
            "SELECT id, sha256('x'), 'x' FROM embedding_spaces"
        )
    QueryServer(database.url, lambda space: opening.open_model(database, space)).run()


OPENERS = {"worker": run_worker, "build": run_build, "search": search, "serve": serve}


@pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS)
def test_a_drifted_model_is_refused_and_nothing_is_written(
    probed: Space,
    settings: Settings,
    connection: Connection,
    model: Callable[[type[FakeEmbedder]], None],
    opener: Callable[[Settings], None],
) -> None:
    model(Drifted)
    with pytest.raises(ModelError, match=DRIFTED):
        opener(settings)
    assert connection.execute("SELECT count(*) FROM multimodal_items").fetchone() == (0,)
    assert connection.execute(
        "SELECT count(*) FROM query_embeddings WHERE embedding IS NOT NULL"
    ).fetchone() == (0,)
    jobs = connection.execute("SELECT state, attempts FROM ingest_jobs").fetchall()
    assert jobs == [("pending", 0)]


@pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS)
def test_a_model_of_another_description_is_refused_with_the_difference(
    probed: Space,
    settings: Settings,
    model: Callable[[type[FakeEmbedder]], None],
    opener: Callable[[Settings], None],
) -> None:
    model(OtherWeights)
    with pytest.raises(ModelError, match="weights_sha256: fake-8 != beef"):
        opener(settings)


def test_the_doctor_says_so_and_goes_on(
    probed: Space, settings: Settings, model: Callable[[type[FakeEmbedder]], None]
) -> None:
    model(Drifted)
    wrong = {check.name: check.found for check in examine(settings, model=True) if not check.ok}
    assert "model probes" in wrong
    model(OtherWeights)
    wrong = {check.name: check.found for check in examine(settings, model=True) if not check.ok}
    assert "weights_sha256: fake-8 != beef" in wrong["model"]


def test_a_model_without_an_encoder_that_its_space_needs_is_refused(
    probed: Space, settings: Settings, model: Callable[[type[FakeEmbedder]], None]
) -> None:
    class Blind(FakeEmbedder):
        def __init__(self, dimensions: int = 8) -> None:
            super().__init__(dimensions)
            del self.encoders["image"]

    model(Blind)
    with pytest.raises(ModelError, match="has no encoder for its modality 'image'"):
        run_worker(settings)


def test_the_true_model_is_let_in_by_everybody(
    probed: Space, settings: Settings, connection: Connection
) -> None:
    run_worker(settings)
    run_build(settings)
    search(settings)
    assert connection.execute("SELECT count(*) FROM multimodal_items").fetchone() == (1,)


def test_who_may_not_read_the_probes_is_told_and_works(
    probed: Space, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute("CREATE ROLE nobody_in_particular")
        connection.execute("SET LOCAL ROLE nobody_in_particular")
        probes.verify(connection, probed, FakeEmbedder())
    assert "may not read the probes" in caplog.text


def test_a_space_of_a_kind_that_is_not_installed_is_refused_before_anything_is_loaded(
    probed: Space, settings: Settings, connection: Connection, tmp_path: Path
) -> None:
    connection.execute('UPDATE embedding_spaces SET description = \'{"kind": "holograms"}\'')
    for opener in OPENERS.values():
        with pytest.raises(PipelineError, match="of the kind 'holograms'"):
            opener(settings)


@pytest.mark.parametrize(
    "change",
    [
        "model = '/tmp/evil'",
        "model = '/tmp/evil', description = jsonb_set(description, '{model}', '\"/tmp/evil\"'), "
        "fingerprint = 'of another'",
        "description = jsonb_set(description, '{weights_sha256}', '\"beef\"')",
    ],
)
@pytest.mark.parametrize("opens", OPENERS.values(), ids=OPENERS)
def test_a_row_that_was_changed_by_hand_opens_nothing(
    connection: Connection,
    settings: Settings,
    probed: Space,
    opens: Callable[[Settings], None],
    change: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(FAKE_FAMILY, "open", lambda spec, **_: opened.append(spec))
    connection.execute(f"UPDATE embedding_spaces SET {change}".encode())
    with pytest.raises(ModelError, match="was changed by hand"):
        opens(settings)
    assert opened == []


def test_the_family_is_told_which_weights_they_must_be(
    settings: Settings, probed: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    real = FAKE_FAMILY.open
    monkeypatch.setattr(
        FAKE_FAMILY, "open", lambda spec, **given: told.append(given) or real(spec, **given)
    )
    run_worker(settings)
    assert [given["weights_sha256"] for given in told] == [probed.description["weights_sha256"]]


class Dark(FakeEmbedder):
    """A model that gives no direction to anything."""

    def embed(self, contents: list[bytes]) -> object:  # type: ignore[override]
        return super().embed(contents) * float("nan")


def test_a_model_that_fails_at_its_probes_leaves_no_space_behind(
    connection: Connection, space: Space, model: Callable[[type[FakeEmbedder]], None]
) -> None:
    new = opening.NewSpace("fake:12", "second")
    model(Dark)
    with pytest.raises(ModelError, match="not finite"):
        opening.create_space(connection, new, print)
    assert [s.name for s in list_spaces(connection)] == ["fake"]
    model(FakeEmbedder)
    second = opening.create_space(connection, new, print)
    assert probes.count(connection, second) == 9
