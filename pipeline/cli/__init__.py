"""The ``pipeline`` command. Data goes to stdout, progress and notes to stderr.

Exit codes: 0 done, 1 failed (some rows for good, or the command itself), 2 wrong usage, 75 a
temporary failure: try again later.

Commands import what they need when they run: ``pipeline --help`` loads neither torch nor a
database driver and answers in a fraction of a second.
"""

import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli import db, quality, space, stderr
from pipeline.cli.add import add
from pipeline.cli.allocator import keep_freed_memory
from pipeline.cli.attach import attach
from pipeline.cli.commands import CommandLine, listen, typed_of
from pipeline.cli.demo import demo
from pipeline.cli.detach import detach
from pipeline.cli.ingest import ingest
from pipeline.cli.leaving import leave_to_no_client
from pipeline.cli.mcp import mcp
from pipeline.cli.migrate import migrate
from pipeline.cli.output import (
    exit_code,
    fail,
    fail_by_a_fault,
    fail_by_usage,
    refusal,
    setup_logging,
    speaks_json,
)
from pipeline.cli.queue import failures, retry, status
from pipeline.cli.remove import remove
from pipeline.cli.rescan import rescan
from pipeline.cli.search import search
from pipeline.cli.serve import serve
from pipeline.cli.settings import settings
from pipeline.cli.sync import sync
from pipeline.cli.tune import tune
from pipeline.cli.waiting import wait_asleep
from pipeline.cli.web import web
from pipeline.errors import PipelineError
from pipeline.version import __version__

app = CommandLine(
    name="pipeline",
    help="Cross-modal search in PostgreSQL: images and texts in one pgvector table.",
    epilog="Every command takes --log-format, --log-level, --quiet and --verbose as well.",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=True,
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    log_format: Annotated[
        str,
        typer.Option(
            help="What every line of stderr is: text or json.", envvar="PIPELINE_LOG_FORMAT"
        ),
    ] = "text",
    log_level: Annotated[
        str,
        typer.Option(help="debug, info, warning or error.", envvar="PIPELINE_LOG_LEVEL"),
    ] = "warning",
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Errors only: no notes, bars and warnings.")
    ] = False,
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose", "-v", count=True, show_default=False, help="Log more; twice: all."
        ),
    ] = 0,
) -> None:
    listen(context.params, typed_of(context))
    keep_freed_memory()
    wait_asleep()
    if version:
        print(__version__)
        raise typer.Exit


_ORDER: tuple[Callable[..., Any], ...] = (
    demo,
    migrate,
    attach,
    add,
    ingest,
    status,
    failures,
    retry,
    rescan,
    remove,
    sync,
    detach,
    search,
    serve,
    web,
    mcp,
)
for _command in _ORDER:
    app.command()(_command)
app.add_typer(space.app, name="space")
app.add_typer(quality.eval_app, name="eval")
app.command()(tune)
app.command("map")(quality.map_items)
app.command("doctor")(quality.doctor)
app.command()(settings)
app.add_typer(db.app, name="db")


# Of click, or of typer's own: what it raises for wrong usage derives from this.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def _open_what_is_closed() -> None:
    """As `pipeline status >&-` has it, where Python has no stream to write to."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: an error on purpose is one line on stderr, the causes at debug level.

    So is what the database or the system refuses. Anything else is a bug, and its traceback shows.

    Args:
        arguments: None: those of the process, which then ends with the command.
    """
    try:
        _run(sys.argv[1:] if arguments is None else arguments)
    except SystemExit as exc:
        if arguments is None and (exc.code is None or isinstance(exc.code, int)):
            leave_to_no_client(exc.code or 0)
        raise


def _run(arguments: Sequence[str]) -> None:
    _open_what_is_closed()
    if stderr.asks_for_json(arguments, os.environ):
        setup_logging("json", "warning")  # its own words may be wrong, and are told in JSON too
    _print_what_cannot_be_encoded()
    try:
        sys.exit(app(args=arguments, standalone_mode=False))
    except PipelineError as exc:
        fail(exc, exit_code(exc))
    except _UsageError as exc:
        fail_by_usage(exc)
    except typer.Abort as exc:
        fail(exc, reason="given up")
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as exc:
        reason = refusal(exc)
        if reason is not None:
            fail(exc, exit_code(exc), reason=reason)
        if not speaks_json():
            raise
        fail_by_a_fault(exc)


def _print_what_cannot_be_encoded() -> None:
    """As \\x.., where stdout takes ASCII alone, say: it is no reason to print nothing."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
