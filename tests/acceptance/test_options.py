"""The options of every command, before it and after it; what they do to stdout and stderr."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from pipeline.cli import app
from pipeline.cli.commands import SHARED
from tests.acceptance.test_command import commands
from tests.helpers.command import Done, Run, pipeline
from tests.helpers.terminal import on_a_terminal

SHARED_OPTIONS = ("--log-format", "--log-level", "--quiet", "--verbose", "-h")
NOT_OURS = {("db", "psql")}  # its options are psql's
JSON = ("--log-format", "json")

pytestmark = pytest.mark.timeout(900)  # many commands, some of which load a model


def lines_of(done: Done) -> list[dict[str, object]]:
    """Every line of stderr, each of them a JSON object."""
    found = [json.loads(line) for line in done.stderr.splitlines()]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in found)
    return found


@pytest.mark.parametrize("command", sorted({*commands()} - NOT_OURS), ids=" ".join)
def test_every_command_has_the_shared_options_once_and_says_so(command: tuple[str, ...]) -> None:
    node, context = get_command(app), None
    for name in (None, *command):
        if name is not None:
            node = node.commands[name]  # type: ignore[attr-defined]
        context = node.make_context(name, [], parent=context, resilient_parsing=True)
    names = [param.name for param in node.get_params(context)]
    assert [names.count(name) for name in SHARED] == [1] * len(SHARED)
    shown = node.get_help(context)  # type: ignore[attr-defined]
    assert all(option in shown for option in SHARED_OPTIONS)


def test_options_of_psql_stay_those_of_psql() -> None:
    node = get_command(app).commands["db"].commands["psql"]  # type: ignore[attr-defined]
    context = node.make_context("psql", ["-q", "-h", "x", "-v", "a=1", "--quiet"])
    assert context.args == ["-q", "-h", "x", "-v", "a=1", "--quiet"]


def test_the_line_of_the_readme_for_cron_runs(run: Run) -> None:
    root = Path(__file__).parents[2]
    assert "pipeline ingest --once --log-format json" in (root / "README.md").read_text()
    run("migrate", "--model", "demo")
    run("add", "--text", "a dog", "--text", " x")
    done = run("ingest", "--once", *JSON)
    assert done.returncode == 0, done.stderr
    said = lines_of(done)  # that these rows wait for the demonstration's model
    assert [line["level"] for line in said] == ["info"]
    before = run(*JSON, "ingest", "--once")
    assert (before.returncode, before.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("ingest", "--limit", "0", *JSON), 2),
        ((*JSON, "ingest", "--no-such-option"), 2),
        (("ingest", "--log-format=json", "--once", "--watch"), 2),
        (("space", *JSON), 2),
        (("no-such-command", *JSON), 2),
        ((*JSON, "status", "--log-level", "loud"), 2),
        (("status", *JSON), 75),
        (("status", *JSON, "--log-level", "debug"), 75),
        (("demo", *JSON), 75),
        (("search", "dog", *JSON), 75),
        (("add", "no/such/file.jpg", *JSON), 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_every_line_is_an_object_whatever_goes_wrong(
    tmp_path: Path, run: Run, arguments: tuple[str, ...], code: int
) -> None:
    environment = {"DATABASE_URL": "postgresql://u:secret@127.0.0.1:1/x"} if code == 75 else {}
    if code == 1:
        run("migrate", "--no-space")
    done = run(*arguments, PIPELINE_MODLE="x", **environment)
    assert done.returncode == code
    said = lines_of(done)
    assert said, done.stderr
    if code != 1:
        assert (said[-1]["level"], said[-1]["exit_code"]) == ("error", code)
    assert "secret" not in done.stderr


def test_wrong_usage_is_one_object_with_the_usage(tmp_path: Path) -> None:
    (said,) = lines_of(pipeline(tmp_path, "ingest", "--limit", "0", *JSON))
    assert "--limit" in str(said["message"])
    assert str(said["usage"]).startswith("Usage: ")
    (said,) = lines_of(pipeline(tmp_path, "ingest", "--nope", PIPELINE_LOG_FORMAT="json"))
    assert "--nope" in str(said["message"])


def ended(program: str, *arguments: str) -> Done:
    """What becomes of ``pipeline status`` whose body is ``program``."""
    whole = f"""
import sys, threading, warnings
from pipeline import cli
from pipeline.settings import Settings
def load(**flags):
{program}
Settings.load = load
cli.main(["status", *sys.argv[1:]])
"""
    return subprocess.run(
        [sys.executable, "-c", whole, *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("    raise ValueError('a\\nfault')", "a\nfault"),
        ("    warnings.warn('beware'); sys.exit(1)", "beware"),
        ("    print('half a li', end='', file=sys.stderr); sys.exit(1)", "half a li"),
        ("    print('one\\ntwo', file=sys.stderr); sys.exit(1)", "two"),
        ("    sys.stderr.write('\\r10 %\\r20 %'); sys.exit(1)", "20 %"),
        ("    t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join(); sys.exit(1)",
         "division by zero"),
    ],
)  # fmt: skip
def test_what_others_write_is_an_object_too(program: str, says: str) -> None:
    done = ended(program, *JSON)
    assert done.returncode == 1
    said = lines_of(done)
    assert says in str(said[-1]["message"])
    assert "Traceback" not in "".join(str(line["message"]) for line in said)
    if "ValueError" in program or "1 / 0" in program:
        assert "Traceback" in str(said[-1]["traceback"])
    plain = ended(program)
    assert not plain.stderr.startswith("{")


def test_quiet_leaves_errors_and_verbose_says_more(run: Run) -> None:
    assert run("migrate", "--model", "demo", "--quiet").stderr == ""
    assert run("add", "--text", "a dog", "-q").stderr == ""
    assert "warning" in run("add", "--text", "a cat").stderr
    assert run("status", "-q", PIPELINE_MODLE="x").stderr == ""
    done = run("status", "-q", DATABASE_URL="postgresql://127.0.0.1:1/x")
    assert done.stderr.startswith("pipeline: ")
    assert run("-q", "status", "-v").returncode == 2
    logged = run("ingest", "-v").stderr
    assert "INFO ingest has ended" in logged
    assert "INFO" not in run("ingest", "--log-level", "warning", "-v").stderr
    assert "DEBUG" in run("search", "dog", "-vv", DATABASE_URL="mysql://x").stderr
    assert "DEBUG" not in run("search", "dog", "-v", DATABASE_URL="mysql://x").stderr


def test_a_signal_is_told_as_an_object(tmp_path: Path) -> None:
    program = """
import os, signal, sys, time
from pipeline.cli.output import setup_logging
from pipeline.cli.signals import STOPPING, StopSignals
class Work:
    done = False
    def stop(self): self.done = True
setup_logging("json", "warning", quiet="-q" in sys.argv)
work = Work()
StopSignals(work, saying=STOPPING)
os.kill(os.getpid(), signal.SIGTERM)
while not work.done: time.sleep(0.01)
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (said,) = lines_of(done)
    assert str(said["message"]).startswith("stopping: ")
    quiet = subprocess.run([*command, "-q"], capture_output=True, text=True, check=True)
    assert quiet.stderr == ""


def test_python_runs_the_package(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "-h"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: python -m pipeline ")


def test_nothing_is_a_traceback_where_stdout_takes_ascii_alone(run: Run, tmp_path: Path) -> None:
    run("migrate", "--model", "demo")
    name = "ein Fahrrad \u2013 \u5bff\u53f8 \U0001f6b2"
    run("add", "--text", name)
    run("add", "--text", " ", "--metadata", "{}")
    run("ingest")
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    for command in (
        ("search", "Fahrrad"), ("search", name, "--json"), ("status",),
        ("failures",), ("failures", "--rows", "--json"), ("space", "list"), ("doctor",),
        ("space", "show", "demo"), ("ingest",), ("eval", "recall"), ("settings",),
    ):  # fmt: skip
        done = run(*command, **ascii_only)
        assert "Traceback" not in done.stderr, command
        assert done.returncode == 0, (command, done.stderr)
        assert (done.stdout + done.stderr).isascii()
        if "--json" in command:
            json.loads(done.stdout)
    (found,) = json.loads(run("search", "Fahrrad", "--json", **ascii_only).stdout)
    assert found["content_ref"] == name


def test_ok_and_fail_are_coloured_on_a_terminal_alone(
    run: Run, empty_url: str, tmp_path: Path
) -> None:
    run("migrate", "--model", "demo")
    command = (sys.executable, "-m", "pipeline", "doctor")
    environment = {**os.environ, "DATABASE_URL": empty_url, "TERM": "xterm-256color"}
    green = "\x1b[32mOK"
    assert green in on_a_terminal(command, environment)
    assert "\x1b[3" not in on_a_terminal(command, {**environment, "NO_COLOR": "1"})
    assert "\x1b[3" not in on_a_terminal(command, {**environment, "TERM": "dumb"})
    assert "\x1b" not in run("doctor").stdout
    assert green in run("doctor", FORCE_COLOR="1", TERM="xterm").stdout
    assert "\x1b" not in run("doctor", "--json", FORCE_COLOR="1").stdout


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_who_has_seen_enough_is_no_failure(unbuffered: str) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "settings", "--quiet"],
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(theirs)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [["--version"], ["settings"], ["add", "--nonsense"]])
@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "0<&-", "0<&- 1>&- 2>&-"])
def test_a_closed_stream_is_no_fault(arguments: list[str], closed: str) -> None:
    command = shlex.join([sys.executable, "-m", "pipeline", *arguments])
    done = subprocess.run(
        ["sh", "-c", f"{command} {closed}"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == (2 if "--nonsense" in arguments else 0), done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_query_is_wrong_usage() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "search", ""],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert "the text is empty" in done.stderr
