"""What the command says when there is nothing, or something is wrong: one line, and what to do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.main import get_command

from pipeline.cli import app
from pipeline.postgres.embedded import EmbeddedServer
from tests.helpers.command import Run, pipeline

# What takes long to import, and is of no use to a command with nothing to embed.
HEAVY = {"torch", "open_clip", "sqlalchemy", "numpy", "prometheus_client"}


def loaded_by(*command: str) -> set[str]:
    """Top-level modules that Python imported while it ran ``command``."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command], capture_output=True, text=True, check=True
    )
    names = (line.rpartition("|")[2].strip() for line in done.stderr.splitlines())
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("command", [("-c", "import pipeline"), ("-m", "pipeline.cli", "--help")])
def test_neither_the_package_nor_help_loads_torch(command: tuple[str, ...]) -> None:
    loaded = loaded_by(*command)
    assert "pipeline" in loaded
    assert not loaded & (HEAVY | {"psycopg"})


def test_ingest_with_nothing_due_loads_nothing_heavy(
    run: Run, tmp_path: Path, empty_url: str
) -> None:
    assert run("migrate", "--model", "demo").returncode == 0
    program = "import sys; sys.argv = ['pipeline', 'ingest', '--once']\n"
    program += "from pipeline.cli import main\ntry:\n main()\nexcept SystemExit as e:\n print(e)\n"
    program += f"print(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"DATABASE_URL": empty_url, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert "nothing due" in done.stdout


def commands() -> list[tuple[str, ...]]:
    def walk(group: object, prefix: tuple[str, ...]) -> list[tuple[str, ...]]:
        found = []
        for name, command in getattr(group, "commands", {}).items():
            found.append((*prefix, name))
            found += walk(command, (*prefix, name))
        return found

    return walk(get_command(app), ())


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_has_one_sentence_and_an_example(command: tuple[str, ...]) -> None:
    node = get_command(app)
    for name in command:
        node = node.commands[name]  # type: ignore[attr-defined]
    text = node.help or ""
    assert text
    if not getattr(node, "commands", None):
        assert f"Example: pipeline {command[0]}" in " ".join(text.split()), text


def test_a_database_that_is_not_migrated_says_what_to_do(run: Run) -> None:
    done = run("status")
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "pipeline: the database has no tables of ours yet; run `pipeline migrate`"
    )


def test_rows_for_the_demonstration_model_are_warned_of(run: Run) -> None:
    """Vectors of drawings are no use to photographs: `add` and `ingest` say whose model it is."""
    assert run("migrate", "--model", "demo").returncode == 0
    added = run("add", "--text", "a photograph of a harbour")
    ingested = run("ingest")
    again = run("ingest")
    for done in (added, ingested):
        assert "warning: your rows wait for the demonstration's model" in done.stderr
        assert done.returncode == 0
    assert again.stderr == ""


# Every command that needs a database, with the arguments it cannot do without.
NEED_A_DATABASE = {
    ("demo",): (),
    ("migrate",): (),
    ("add",): ("--text", "a dog"),
    ("ingest",): (),
    ("status",): (),
    ("failures",): (),
    ("retry",): (),
    ("rescan",): (),
    ("remove",): ("x", "--yes"),
    ("attach",): ("products", "--text", "title"),
    ("detach",): ("products", "--yes"),
    ("sync",): (),
    ("search",): ("dog",),
    ("serve",): (),
    ("web",): ("--port", "0"),
    ("mcp",): (),
    ("space", "list"): (),
    ("space", "show"): ("one",),
    ("space", "create"): ("one", "--model", "demo"),
    ("space", "build"): ("one",),
    ("space", "activate"): ("one",),
    ("space", "rollback"): (),
    ("space", "reindex"): ("one",),
    ("space", "pause"): ("one",),
    ("space", "resume"): ("one",),
    ("space", "drop"): ("one", "--yes"),
    ("space", "import"): ("one", "--table", "t"),
    ("space", "export"): ("one", "one.parquet"),
    ("eval", "recall"): (),
    ("eval", "retrieval"): ("--pairs", "pair"),
    ("tune",): (),
    ("map",): ("map.svg",),
    ("doctor",): (),
}


def test_every_command_needs_a_database_or_is_known_not_to() -> None:
    others = {("space",), ("eval",), ("settings",)}
    of_the_server = {command for command in commands() if command[0] == "db"}
    assert set(NEED_A_DATABASE) == set(commands()) - others - of_the_server


@pytest.mark.parametrize("command", NEED_A_DATABASE, ids=" ".join)
def test_an_unusable_database_is_one_line_without_the_password(
    tmp_path: Path, command: tuple[str, ...], server: EmbeddedServer
) -> None:
    unknown_user = server.url().replace("user=postgres", "user=u&password=secret")
    for url, says in (
        ("postgresql://u:secret@127.0.0.1:1/x", "no PostgreSQL answers at"),
        (unknown_user, "the user does not exist there"),
    ):
        done = pipeline(tmp_path, *command, *NEED_A_DATABASE[command], DATABASE_URL=url)
        temporary = url != unknown_user
        assert done.returncode == (75 if temporary else 1)
        is_a_check = command == ("doctor",) and not temporary
        told = (done.stdout if is_a_check else done.stderr).splitlines()
        assert says in told[-1]
        assert len(told) == 1 or command == ("demo",), told  # which says what it begins with
        assert "secret" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("url", "code", "says"),
    [
        # 75: a name that is not known now may be known when the network is up.
        ("postgresql://u:secret@no-such-host.invalid/x", 75, "no PostgreSQL answers at"),
        ("postgresql://u:se@cret@localhost/x", 1, "the database URL cannot be read"),
        ("postgresql://u:secret@localhost:notaport/x", 1, "the port in the database URL"),
        ("mysql://u:secret@localhost/x", 1, "only PostgreSQL works"),
        ("nonsense", 1, "the database URL cannot be read"),
    ],
)
def test_what_is_wrong_with_a_database_url_is_said(
    run: Run, url: str, code: int, says: str
) -> None:
    done = run("status", DATABASE_URL=url)
    assert done.returncode == code
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "cret" not in done.stderr


def test_a_revision_that_does_not_exist_is_wrong_usage(run: Run) -> None:
    done = run("migrate", "nosuchrev")
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    assert "'nosuchrev'; this installation knows base, pipeline_0001" in said
    assert "Traceback" not in done.stderr


def test_what_the_database_or_the_system_refuses_is_one_line(run: Run, empty_url: str) -> None:
    from pipeline.postgres.connections import connect

    run("migrate", "--model", "demo")
    with connect(empty_url) as connection:
        connection.execute("DROP TABLE ingest_jobs CASCADE")
    done = run("status")
    assert (done.returncode, done.stderr) == (
        1, 'pipeline: the database refuses: relation "ingest_status" does not exist\n',
    )  # fmt: skip
    shown = run("--log-level", "debug", "status")
    assert "Traceback" in shown.stderr
    done = run("space", "export", run_space(empty_url), "/nowhere/items.parquet")
    assert done.returncode == 1
    assert "/nowhere" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def run_space(url: str) -> str:
    """The name of the active space."""
    from pipeline import spaces
    from pipeline.postgres.connections import connect

    with connect(url) as connection:
        return spaces.active_space(connection).name


def test_a_database_that_does_not_exist_is_named(run: Run, server: EmbeddedServer) -> None:
    done = run("status", DATABASE_URL=server.url("no_such_database"))
    assert done.returncode == 1
    assert "the database does not exist; create it" in done.stderr


def test_a_misspelt_setting_value_is_named(run: Run) -> None:
    done = run("status", PIPELINE_BATCH_SIZE="many")
    assert done.returncode == 1
    assert done.stderr.startswith("pipeline: PIPELINE_BATCH_SIZE: ")


def test_wrong_usage_exits_with_2(run: Run) -> None:
    assert run("search").returncode == 2
    assert run("search", "dog", "--ranking", "nonsense").returncode == 2
    assert run("search", "dog", "--modality", "smell").returncode == 2
    assert run("ingest", "--limit", "0").returncode == 2
    assert run("add", "--text", " ").returncode == 2
    assert run("add", "--text", "a dog", "--source", "").returncode == 2
    assert run("no-such-command").returncode == 2


def test_a_model_that_is_not_there_leaves_the_schema_and_says_what_to_do(run: Run) -> None:
    done = run("migrate", "--model", "/no/such/folder")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()[-1]) < 400
    assert "/no/such/folder" in done.stderr
    assert json.loads(run("status", "--json").stdout) == []
    # The database is usable as soon as a model is.
    assert run("migrate", "--model", "demo").returncode == 0


def test_bad_rows_fail_each_with_its_code_and_the_others_are_done(run: Run, tmp_path: Path) -> None:
    run("migrate", "--model", "demo")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "good.png")
    Image.new("RGB", (1, 1), "blue").save(tmp_path / "tiny.png")
    (tmp_path / "page.jpg").write_text("<html>no picture</html>")
    gone = tmp_path / "gone.png"
    Image.new("RGB", (8, 8)).save(gone)
    (tmp_path / "blank.jsonl").write_text('{"text": " "}\n')
    names = ["good.png", "tiny.png", "page.jpg", "gone.png", "missing.png", "blank.jsonl"]
    added = run("add", *names)
    assert added.returncode == 1  # one argument names nothing
    assert "missing.png: there is no such file or folder" in added.stderr
    gone.unlink()
    done = run("ingest", "--json")
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert (report["done"], report["failed"]) == (2, 3)
    failures = {f["code"]: f for f in json.loads(run("failures", "--json").stdout)}
    assert set(failures) == {"not_an_image", "not_found", "empty_text"}
    assert "HTML" in failures["not_an_image"]["error"]
    assert failures["not_found"]["content_ref"] == str(gone)
    assert failures["not_found"]["next"] == (
        "correct the reference, or restore the object and retry; "
        "if it is gone for good: `pipeline rescan`, or `pipeline remove KEY`, "
        "and of an attached source `pipeline sync`"
    )
    for option in ((), ("--rows",)):
        shown = run("failures", *option)
        assert gone.name in "".join(shown.stdout.split())
        assert "not_found: correct the reference, or restore" in shown.stderr
    (tmp_path / "page.jpg").unlink()
    Image.new("RGB", (8, 8), "green").save(tmp_path / "page.jpg")
    assert run("retry", "--code", "not_an_image").stdout == "1 row back in the queue\n"
    assert json.loads(run("ingest", "--json").stdout)["done"] == 1


def test_a_search_of_nothing_says_so_beside_the_data(run: Run) -> None:
    run("migrate", "--model", "demo")
    done = run("search", "dog")
    assert (done.returncode, done.stdout) == (0, "")
    assert "nothing is stored yet" in done.stderr


def test_a_search_of_both_modalities_shows_what_it_sorts_by(
    run: Run, empty_url: str, tmp_path: Path
) -> None:
    run("migrate", "--model", "demo")
    for colour in ("red", "blue"):
        Image.new("RGB", (64, 64), colour).save(tmp_path / f"{colour}.png")
    run("add", "red.png", "blue.png", "--text", "a dog", "--text", "a slice of pizza")
    assert run("ingest").returncode == 0
    both = run("search", "dog").stdout.splitlines()
    assert both[0].split() == ["rank", "score", "similarity", "id", "modality", "content"]
    assert both[-1] == f"files are below {tmp_path}"
    scores = [float(line.split()[1]) for line in both[2:-1] if line]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 4
    assert "score" not in run("search", "dog", "-m", "text").stdout


def test_failures_show_no_secret_of_a_url(run: Run) -> None:
    run("migrate", "--model", "demo")
    run("add", "https://u:secret@example.invalid/a.jpg?sig=secret")
    assert run("ingest").returncode == 1
    for options in ((), ("--rows",), ("--json",), ("--rows", "--json")):
        done = run("failures", *options)
        assert "example.invalid" in "".join(done.stdout.split())
        assert "secret" not in "".join((done.stdout + done.stderr).split())


def test_add_gives_texts_their_metadata_and_says_what_it_left(
    run: Run, tmp_path: Path, empty_url: str
) -> None:
    from pipeline.postgres.connections import connect

    run("migrate", "--model", "demo")
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "captions.csv").write_text("id,text\n1,a dog\n")
    arguments = ("--text", "a dog", "--metadata", '{"set": "pets"}')
    done = run("add", "photos", "s3://shut/x.jpg", "s3://open/x.jpg", *arguments,
               PIPELINE_BUCKETS="s3://open")  # fmt: skip
    assert (done.returncode, done.stdout) == (
        0, "4 added, 0 changed, 0 unchanged, 1 other files skipped\n",
    )  # fmt: skip
    assert "to add theirs: pipeline add photos/captions.csv\n" in done.stderr
    assert "not open to references: s3://shut; add to PIPELINE_BUCKETS" in done.stderr
    with connect(empty_url) as connection:
        found = connection.execute("SELECT DISTINCT source, metadata FROM source_items").fetchall()
    assert found == [("files", {"set": "pets"})]


def test_an_unmodified_insert_is_picked_up_and_found(run: Run, empty_url: str) -> None:
    from pipeline.postgres.connections import connect

    run("migrate", "--model", "demo")
    with connect(empty_url) as connection:
        connection.execute(
            "INSERT INTO source_items (source, source_key, modality, content_ref) "
            "VALUES ('sql', '1', 'text', 'a dog'), ('sql', '2', 'text', 'a slice of pizza')"
        )
    assert run("ingest").returncode == 0
    found = json.loads(run("search", "dog", "-k", "2", "--json").stdout)
    assert [n["content_ref"] for n in found] == ["a dog", "a slice of pizza"]
    assert found[0]["rank"] == 1
    again = run("search", "dog", "-k", "1")
    assert "a dog" in again.stdout


def test_the_doctor_loads_the_model_only_when_told_to(run: Run, empty_url: str) -> None:
    run("migrate", "--model", "demo")
    program = "import sys; sys.argv = ['pipeline', 'doctor']\n"
    program += "from pipeline.cli import main\ntry:\n main()\nexcept SystemExit as e:\n print(e)\n"
    program += "print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "DATABASE_URL": empty_url},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-2:] == ["0", "False"]
    assert "model" not in [line.split()[1] for line in done.stdout.splitlines()[:-2]]
    done = run("doctor", "--model")
    assert done.returncode == 0, done.stdout
    assert "OK    model probes: " in done.stdout
    assert "OK    model precision: " in done.stdout
