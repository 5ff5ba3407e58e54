"""The ``pipeline`` command. Data goes to stdout, progress and notes to stderr.

Exit codes: 0 done, 1 failed (some rows for good, or the command itself), 2 wrong usage, 75 a
temporary failure: try again later.

Commands import what they need when they run: ``pipeline --help`` loads neither torch nor a
database driver and answers in a fraction of a second.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from pipeline.cli import db, quality, space
from pipeline.cli.add import add
from pipeline.cli.allocator import keep_freed_memory
from pipeline.cli.demo import demo
from pipeline.cli.ingest import ingest
from pipeline.cli.migrate import migrate
from pipeline.cli.output import exit_code, fail, refusal, setup_logging
from pipeline.cli.queue import failures, retry, status
from pipeline.cli.remove import remove
from pipeline.cli.rescan import rescan
from pipeline.cli.search import search
from pipeline.cli.serve import serve
from pipeline.cli.summaries import WholeSummaries
from pipeline.cli.sync import sync
from pipeline.errors import PipelineError
from pipeline.version import __version__

app = typer.Typer(
    name="pipeline",
    help="Cross-modal search in PostgreSQL: images and texts in one pgvector table.",
    no_args_is_help=True,
    cls=WholeSummaries,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    log_format: Annotated[
        str, typer.Option(help="Logs on stderr: text or json.", envvar="PIPELINE_LOG_FORMAT")
    ] = "text",
    log_level: Annotated[
        str,
        typer.Option(help="debug, info, warning or error.", envvar="PIPELINE_LOG_LEVEL"),
    ] = "warning",
) -> None:
    setup_logging(log_format, log_level)
    keep_freed_memory()
    if version:
        print(__version__)
        raise typer.Exit


_ORDER: tuple[Callable[..., Any], ...] = (
    demo,
    migrate,
    add,
    ingest,
    status,
    failures,
    retry,
    rescan,
    remove,
    sync,
    search,
    serve,
)
for _command in _ORDER:
    app.command()(_command)
app.add_typer(space.app, name="space")
app.add_typer(quality.eval_app, name="eval")
app.command("tune")(quality.tune)
app.command("map")(quality.map_items)
app.command("doctor")(quality.doctor)
app.add_typer(db.app, name="db")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: an error on purpose is one line on stderr, the causes at debug level.

    So is what the database or the system refuses. Anything else is a bug, and its traceback shows.
    """
    try:
        app(args=arguments)
    except PipelineError as exc:
        fail(exc, exit_code(exc))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python would complain again while it exits.
        sys.stderr.close()
        sys.exit(0)
    except Exception as exc:
        reason = refusal(exc)
        if reason is None:
            raise
        fail(exc, exit_code(exc), reason=reason)
