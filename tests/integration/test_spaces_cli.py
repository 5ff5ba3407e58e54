"""The commands around spaces and quality, run in this process on a real database and model."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pipeline import spaces
from pipeline.cli import quality, space
from pipeline.cli.tune import tune
from pipeline.demo.manifest import MODEL, SAMPLES, source_rows
from pipeline.errors import ConfigurationError, ModelError, PipelineError, SpaceError
from pipeline.postgres.connections import Connection, connect
from pipeline.sources.media_roots import register_roots
from pipeline.sources.source_items import AddReport, add
from tests.helpers.checkpoints import save_unbearable
from tests.helpers.fakes import add_texts

runner = CliRunner()


@pytest.fixture(autouse=True)
def _database(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("PIPELINE_POLL_SECONDS", "0.2")
    monkeypatch.chdir(tmp_path)


def run(app: Any, *arguments: str, code: int = 0) -> Result:
    result = runner.invoke(app, arguments)
    if isinstance(result.exception, PipelineError):
        raise result.exception
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return result


def command(function: Callable[..., None]) -> Any:
    import typer

    app = typer.Typer()
    app.command()(function)
    return app


def test_the_life_of_a_space_from_its_model_to_its_end(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """create, build, show, eval, tune, map, doctor, activate, export, rollback, drop."""
    # 40 texts and 40 pictures, in pairs.
    add(connection, itertools.islice(source_rows(), 80), AddReport())
    register_roots(connection, [SAMPLES])

    created = run(space.app, "create", "new", "--model", MODEL, "--precision", "float32")
    assert created.stdout.startswith("created new: ")
    with pytest.raises(SpaceError, match="'new' exists already"):
        run(space.app, "create", "new", "--model", MODEL)
    with pytest.raises(SpaceError, match="'new' is empty"):
        run(space.app, "activate", "new")

    built = json.loads(run(space.app, "build", "new", "--json").stdout)
    assert (built["coverage_share"], built["stopped"]) == (1.0, False)
    assert built["items"] == built["embedded"] == 80

    shown = json.loads(run(space.app, "show", "new", "--json").stdout)
    assert shown["state"] == "building"
    assert shown["index"] == {"text": "valid", "image": "valid"}
    assert shown["probes"] == 9
    assert "fingerprint" in run(space.app, "show", "new").stdout

    recall = json.loads(
        run(quality.eval_app, "recall", "--space", "new", "--sample", "10", "--json").stdout
    )
    assert len(recall["results"]) >= 8  # a filter of 1 % may leave none of 40
    assert min(r["recall"] for r in recall["results"]) > 0.9
    tuned = run(command(tune), "--space", "new", "--sample", "10", "--plot", "curve.svg")
    assert tuned.stdout.count("chosen") == 4
    assert Path("curve.svg").stat().st_size > 1000

    with pytest.raises(ConfigurationError, match="share a value of metadata key 'nothing'"):
        run(space.app, "activate", "new", "--min-coverage", "0", "--pairs", "nothing")
    # The old space is empty, so there is nothing to compare with: no pairs there.
    activated = run(space.app, "activate", "new")
    assert activated.stdout == "new is active\n"
    assert "recall@10 is at least" in activated.stderr
    assert run(space.app, "activate", "new").stdout == "new is active already\n"

    retrieval = json.loads(run(quality.eval_app, "retrieval", "--pairs", "pair", "--json").stdout)
    text_to_image, image_to_text = retrieval[0]["directions"]
    assert text_to_image["recall"]["10"] > 0.2 < image_to_text["recall"]["10"]
    assert run(command(quality.map_items), "map.html").stdout == "map.html\n"

    examined = json.loads(run(command(quality.doctor), "--json").stdout)
    assert [check for check in examined if not check["ok"]] == []

    run(space.app, "export", "new", "items.parquet", "--no-vectors")
    assert Path("items.parquet").stat().st_size > 1000

    listed = json.loads(run(space.app, "list", "--json").stdout)
    assert [(s["name"], s["state"]) for s in listed] == [("fake", "retired"), ("new", "active")]
    back = run(space.app, "rollback")
    assert back.stdout == "fake is active\n"
    assert "changed meanwhile: run `pipeline ingest --once`" in back.stderr

    with pytest.raises(ConfigurationError, match=r"deletes its .* vectors; add --yes"):
        run(space.app, "drop", "new")
    assert run(space.app, "drop", "new", "--yes").stdout.startswith("dropped new and its")
    with pytest.raises(SpaceError, match="is active or gone"):
        run(space.app, "drop", "fake", "--yes")


def test_bad_arguments_are_one_clear_error_and_change_nothing(
    connection: Connection, tmp_path: Path
) -> None:
    unbearable = str(save_unbearable(tmp_path / "model"))
    cases: list[tuple[tuple[str, ...], type[PipelineError], str]] = [
        (("show", "x"), SpaceError, "no space 'x'; there are: fake"),
        (("build", "x"), SpaceError, "no space 'x'"),
        (("activate", "x"), SpaceError, "no space 'x'"),
        (("drop", "x; DROP TABLE source_items", "--yes"), SpaceError, "no space 'x; DROP"),
        (("rollback",), SpaceError, "no other space was active"),
        (("create", "a b", "--model", MODEL), ConfigurationError, "cannot name a space"),
        (("create", "x", "--model", "no-such-model"), ModelError, "no-such-model"),
        (
            ("create", "x", "--model", unbearable, "--precision", "bfloat16"),
            ModelError,
            "does not bear bfloat16",
        ),
    ]
    before = spaces.list_spaces(connection)
    for arguments, kind, message in cases:
        with pytest.raises(kind) as caught:
            run(space.app, *arguments)
        assert message in str(caught.value), arguments
    for arguments, message in (
        (("create", "x", "--hnsw", "m=x"), "m=24,ef_construction=128"),
        (("create", "x", "--hnsw", "k=1"), "m=24,ef_construction=128"),
        (("create", "x", "--precision", "int4"), "auto"),
        (("import", "fake"), "or --table"),
        (("import", "fake", "x.csv"), ".parquet and .npy"),
        (("import", "fake", "x.npy"), "--ids"),
        (("import", "fake", "x.parquet", "--column", "a"), "FIELD=COLUMN"),
        (("export", "fake", "x.csv"), "must end with .parquet"),
        (("activate", "fake", "--min-coverage", "2"), "--min-coverage"),
    ):
        said = run(space.app, *arguments, code=2).stderr
        assert message in " ".join(said.split()), arguments
    assert spaces.list_spaces(connection) == before


def test_import_from_the_command_line(url: str, connection: Connection) -> None:
    import numpy as np

    add_texts(connection, ["one", "two"], source="shop")
    np.save("v.npy", np.eye(8)[:2])
    Path("ids.txt").write_text("1\n2\n")
    done = run(
        space.app, "import", "fake", "v.npy", "--ids", "ids.txt", "--source", "shop", "--json"
    )
    assert json.loads(done.stdout) == {"space": "fake", "source": "shop", "items": 2, "new": 0}
    connection.execute(
        "CREATE TABLE old AS SELECT 'k' AS key, 'text' AS modality, 'three' AS content_ref, "
        "embedding FROM multimodal_items LIMIT 1"
    )
    with connect(url) as other:
        other.execute("SELECT 1")
    done = run(space.app, "import", "fake", "--table", "old", "--column", "source_key=key")
    assert done.stdout == "imported 1 items into fake (1 new source rows)\n"


def test_eval_and_tune_of_an_empty_space_say_so(connection: Connection) -> None:
    for app, *arguments in (
        (quality.eval_app, "recall"),
        (command(tune),),
    ):
        with pytest.raises(SpaceError, match="no items to search among"):
            run(app, *arguments)
    with pytest.raises(SpaceError, match="a map needs at least 3"):
        run(command(quality.map_items), "map.png")


def test_the_doctor_exits_1_when_something_is_wrong(connection: Connection) -> None:
    done = run(command(quality.doctor), code=1)
    assert "FAIL  probes: none stored" in done.stdout
    assert "OK    server: PostgreSQL" in done.stdout


def test_every_command_has_a_sentence_and_an_example() -> None:
    for app, prefix in ((space.app, "pipeline space"), (quality.eval_app, "pipeline eval")):
        for registered in app.registered_commands:
            assert registered.callback is not None
            text = registered.callback.__doc__ or ""
            name = registered.name or registered.callback.__name__
            assert f"Example: {prefix} {name}" in text, name
    for function in (tune, quality.map_items, quality.doctor):
        assert f"Example: pipeline {function.__name__.removesuffix('_items')}" in (
            function.__doc__ or ""
        )
