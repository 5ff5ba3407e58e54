"""The base alone: no model, no server, no Parquet. What needs more says so in one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.postgres.connections import Connection
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.command import Done
from tests.helpers.descriptions import CLIP
from tests.helpers.fakes import add_texts
from tests.helpers.images import encode, sample
from tests.helpers.requirements import MODULES_OF_EXTRAS
from tests.helpers.workers import work
from tests.integration.test_serve import serving

BLOCKED = f"import sys; sys.modules.update(dict.fromkeys({MODULES_OF_EXTRAS}))\n"


def base(folder: Path, *arguments: str, **environment: str) -> Done:
    """``pipeline ARGUMENTS`` where no module of an extra can be imported."""
    return subprocess.run(
        [sys.executable, "-c", f"{BLOCKED}from pipeline.cli import main; main()", *arguments],
        cwd=folder,
        env={**os.environ, "PIPELINE_HOME": str(folder / "home"), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )


def assert_names(done: Done, extra: str, *, after: int = 0) -> None:
    """Exit 1 with one line that names the extra, ``after`` so many that came before."""
    assert done.returncode == 1, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == after + 1, done.stderr
    assert lines[-1].startswith("pipeline: ")
    assert f"pip install 'pgvector-crossmodal-pipeline[{extra}]'" in lines[-1]


HAVE_ASKED = (
    "pipeline.embedders.embeddinggemma.",
    "pipeline.embedders.local.",
    "pipeline.embedders.openclip.",
    "pipeline.embeddings_api.bodies",
    "pipeline.embeddings_api.server",
    "pipeline.integrations.mcp.",
    "pipeline.modalities.audio.",
    "pipeline.modalities.containers.",
    "pipeline.modalities.document.",
    "pipeline.modalities.video.",
    "pipeline.web.",
)


def test_every_module_but_those_of_an_extra_can_be_imported() -> None:
    program = """
import importlib, pkgutil, pipeline
from pipeline.errors import MissingExtra
for module in pkgutil.walk_packages(pipeline.__path__, "pipeline."):
    if module.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except ImportError:
        print("fails", module.name)
    except MissingExtra:
        print("asks", module.name)
"""
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED + program], capture_output=True, text=True, check=True
    )
    found = [line.split() for line in done.stdout.splitlines()]
    assert [name for said, name in found if said == "asks"] == [
        "pipeline.embedders.embeddinggemma.opening",
        "pipeline.embedders.openclip.embedder",
        "pipeline.embedders.remote.client",
        "pipeline.embedders.remote.embedder",
        "pipeline.embedders.remote.encoders",
        "pipeline.embedders.remote.opening",
        "pipeline.embeddings_api.app",
        "pipeline.embeddings_api.door",
        "pipeline.integrations.langchain",
        "pipeline.integrations.llama_index",
        "pipeline.integrations.mcp.server",
        "pipeline.modalities.text.segments",
        "pipeline.quality.plots",
        "pipeline.web.application",
        "pipeline.web.mounted",
        "pipeline.web.rendering",
        "pipeline.web.server",
    ]
    # Nobody imports these but what has asked before: the embedder, the API, the decoders of media.
    rest = [name for said, name in found if said == "fails"]
    assert all(name.startswith(HAVE_ASKED) for name in rest), rest


def test_applications_get_all_that_the_package_exports_but_the_model() -> None:
    program = """
import pipeline
from pipeline.errors import MissingExtra
for name in pipeline.__all__:
    try:
        getattr(pipeline, name)
    except MissingExtra as exc:
        print(name, exc)
"""
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED + program], capture_output=True, text=True, check=True
    )
    (line,) = done.stdout.splitlines()
    assert line.startswith("MultimodalEmbedder embedding needs an optional part: pip install")


@pytest.fixture
def filled(connection: Connection, space: Space, settings: Settings, url: str) -> str:
    """The URL of a database with a dozen items, made where there is a model."""
    add_texts(connection, [f"text number {n}" for n in range(12)])
    assert work(settings, space).done == 12
    connection.execute(
        "UPDATE embedding_spaces SET model = %s, description = %s, fingerprint = %s",
        (CLIP.model, json.dumps(CLIP.as_dict()), CLIP.fingerprint()),
    )
    return url


WORK = {
    "add": ("add", "--text", "a dog"),
    "status": ("status", "--json"),
    "failures": ("failures",),
    "retry": ("retry",),
    "rescan": ("rescan",),
    "remove": ("remove", "--source", "test", "--dry-run"),
    "sync": ("sync",),
    "ingest with nothing due": ("ingest",),
    "search like an item": ("search", "--item", "1", "--json"),
    "space list": ("space", "list"),
    "space show": ("space", "show", "fake"),
    "space build of the index": ("space", "build", "fake", "--no-embed"),
    "eval recall": ("eval", "recall", "--sample", "5", "--no-filters"),
    "tune": ("tune", "--sample", "5"),
    "migrate": ("migrate",),
    "db url": ("db", "url"),
    "db status": ("db", "status"),
    "db stop": ("db", "stop"),
}


@pytest.mark.parametrize("arguments", WORK.values(), ids=WORK)
def test_these_commands_work(filled: str, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = base(tmp_path, *arguments, DATABASE_URL=filled)
    assert done.returncode == 0, done.stderr
    assert done.stdout


NEED = {
    "space export": (("space", "export", "fake", "items.parquet"), "parquet"),
    "space import": (("space", "import", "fake", "items.parquet"), "parquet"),
    "add of a Parquet file": (("add", "rows.parquet", "--key-column", "id"), "parquet"),
    "map": (("map", "map.svg"), "plots"),
    "web": (("web", "--port", "0"), "web"),
    "mcp": (("mcp",), "mcp"),
    "ingest with metrics": (("ingest", "--metrics-port", "0"), "metrics"),
    "tune with a plot": (("tune", "--plot", "curve.svg"), "plots"),
}


@pytest.mark.parametrize(("arguments", "extra"), NEED.values(), ids=NEED)
def test_these_commands_name_the_extra_they_need(
    filled: str, tmp_path: Path, arguments: tuple[str, ...], extra: str
) -> None:
    for name in ("items.parquet", "rows.parquet"):
        (tmp_path / name).write_bytes(b"PAR1")
    assert_names(base(tmp_path, *arguments, DATABASE_URL=filled), extra)


@pytest.mark.usefixtures("dblink")
def test_whoever_serves_answers_who_has_no_model(filled: str, tmp_path: Path) -> None:
    """A text and an image; neither torch nor any other extra is imported."""
    (tmp_path / "image.png").write_bytes(encode(sample(), "PNG"))
    with serving(filled):
        for query in (("a text nobody asked for",), ("--image", "image.png")):
            done = base(tmp_path, "search", *query, "--json", DATABASE_URL=filled)
            assert (done.returncode, done.stderr) == (0, ""), done.stderr
            assert len(json.loads(done.stdout)) == 10


def test_with_nobody_to_ask_it_is_said_what_to_do(filled: str, tmp_path: Path) -> None:
    done = base(tmp_path, "search", "a text nobody asked for", DATABASE_URL=filled)
    assert_names(done, "embed", after=1)  # it has said that it loads the model
    assert "nobody serves the active embedding space" in done.stderr
    assert "or start `pipeline serve` where that is installed" in done.stderr


def test_with_something_to_embed_so_do_those_that_embed(
    filled: str, tmp_path: Path, connection: Connection
) -> None:
    add_texts(connection, ["another"], "later")
    for command in (("ingest",), ("ingest", "--watch"), ("space", "build", "fake")):
        assert_names(base(tmp_path, *command, DATABASE_URL=filled), "embed")
    assert connection.execute("SELECT state, attempts FROM ingest_jobs").fetchall() == [
        ("pending", 0)
    ]
    # It has said that it loads the model.
    create = "space", "create", "new", "--model", "demo"
    assert_names(base(tmp_path, *create, DATABASE_URL=filled), "embed", after=1)
    # It has said that it serves before it looks for the space and its model.
    assert_names(base(tmp_path, "serve", DATABASE_URL=filled), "embed", after=1)


def test_the_doctor_tells_of_the_model_and_of_all_the_rest(filled: str, tmp_path: Path) -> None:
    done = base(tmp_path, "doctor", "--model", DATABASE_URL=filled)
    assert (done.returncode, done.stderr) == (1, "")
    line = done.stdout.splitlines()[-1]
    assert line.startswith("FAIL  model: embedding needs an optional part: pip install")
    assert len(done.stdout.splitlines()) > 5


def test_an_empty_database_gets_its_schema_and_no_space(empty_url: str, tmp_path: Path) -> None:
    done = base(tmp_path, "migrate", "--no-space", DATABASE_URL=empty_url)
    assert done.returncode == 0, done.stderr
    assert_names(base(tmp_path, "migrate", DATABASE_URL=empty_url), "embed", after=1)
    assert_names(base(tmp_path, "demo", DATABASE_URL=empty_url), "embed", after=2)


@pytest.mark.parametrize(
    "arguments",
    [("db", "start"), ("status",), ("ingest",), ("migrate",), ("doctor",), ("db", "psql")],
    ids=" ".join,
)
def test_without_a_database_that_is_named_the_server_is_asked_for(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    done = base(tmp_path, *arguments)
    assert_names(done, "server")
    assert "or set DATABASE_URL to one that runs already" in done.stderr
    assert list(tmp_path.iterdir()) == []  # nothing was made for a server that cannot be


def test_psql_is_that_of_the_system_or_asked_for(filled: str, tmp_path: Path) -> None:
    done = base(tmp_path, "db", "psql", DATABASE_URL=filled, PATH=str(tmp_path))
    assert_names(done, "server")
    assert "or install PostgreSQL's own client" in done.stderr


def test_migrate_names_the_way_without_a_model(tmp_path: Path, empty_url: str) -> None:
    done = base(tmp_path, "migrate", "--model", "demo", DATABASE_URL=empty_url)
    assert_names(done, "embed", after=1)
    assert "or `pipeline migrate --no-space` for the tables alone" in done.stderr
    assert base(tmp_path, "migrate", "--no-space", DATABASE_URL=empty_url).returncode == 0
