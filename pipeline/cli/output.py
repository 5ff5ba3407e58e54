"""How commands speak: tables and JSON on stdout; progress, notes, logs and errors on stderr."""

import json
import logging
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from pipeline.cli import stderr
from pipeline.cli.log_lines import JsonFormatter, NoteFormatter, TextFormatter
from pipeline.cli.printing import printable, printable_json
from pipeline.errors import EX_TEMPFAIL as EX_TEMPFAIL
from pipeline.errors import ModelUnavailable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID
    from rich.table import Table

    from pipeline.spaces import IndexProgress

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")

logger = logging.getLogger("pipeline")


def fail(exc: BaseException, code: int = 1, *, reason: str | None = None) -> NoReturn:
    """One line for a person, the traceback at --log-level debug."""
    said = " ".join((reason or str(exc)).split())
    if speaks_json():
        trace = exc if logger.isEnabledFor(logging.DEBUG) else None
        logger.error(said, exc_info=trace, extra={"exit_code": code})
    else:
        logger.debug("failed", exc_info=exc)
        print(printable(f"pipeline: {said}"), file=sys.stderr)
    sys.exit(code)


def fail_by_a_fault(exc: BaseException) -> NoReturn:
    """What nobody foresaw, as one JSON object with its traceback; else Python shows it."""
    logger.error("a fault of the pipeline: %s", exc, exc_info=exc, extra={"exit_code": 1})
    sys.exit(1)


def fail_by_usage(exc: Any) -> NoReturn:  # of click, or of typer's own
    """Wrong usage: what is wrong, and where the help is; exit code 2."""
    if speaks_json():
        usage = exc.ctx.get_usage() if getattr(exc, "ctx", None) else None
        extra = {"exit_code": exc.exit_code, "usage": usage}
        logger.error(exc.format_message(), extra=extra)
    else:
        exc.show()
    sys.exit(exc.exit_code)


def exit_code(exc: Exception) -> int:
    """75 where the database or the model is merely out of reach, so that a scheduler tries again;
    else 1."""
    # Unless the driver is loaded already, the error is not its own.
    if "psycopg" not in sys.modules and not isinstance(exc, ModelUnavailable):
        return 1
    from pipeline.postgres import reconnect

    return reconnect.exit_code(exc)


def refusal(exc: Exception) -> str | None:
    """Why the database or the system refused, in its words; None for any other error, a bug."""
    if isinstance(exc, OSError):
        from pipeline.references import redact

        name = redact(str(exc.filename)) if exc.filename else "the system refuses"
        return f"{name}: {exc.strerror or exc}"
    psycopg = sys.modules.get("psycopg")
    if psycopg is None or not isinstance(exc, psycopg.Error):
        return None
    from pipeline.postgres.connections import explain

    roles = isinstance(exc, psycopg.errors.InsufficientPrivilege)
    more = "; docs/security.md says which role may, and its owner can give the right" * roles
    return f"the database refuses: {explain(exc)}{more}"


def wrong(option: str, problem: str) -> NoReturn:
    """End with wrong usage, exit code 2, naming the option or argument."""
    raise typer.BadParameter(problem, param_hint=option)


def note(message: str) -> None:
    """For the person, not for the pipe."""
    _notes.info(message)


def as_note(message: str) -> str:
    """What ``note()`` would write, for those who must write it themselves; with its line's end."""
    if not _notes.isEnabledFor(logging.INFO):
        return ""
    record = logging.LogRecord(_notes.name, logging.INFO, "", 0, message, None, None)
    return f"{_notes.handlers[0].format(record)}\n"


def say(line: str) -> None:
    """One line on stdout, whoever gave the words in it."""
    print(printable(line))


def shortened(text: str, length: int = 100) -> str:
    """For one cell of a table."""
    return text if len(text) <= length else text[: length - 1] + "…"


def print_json(value: Any) -> None:
    """One line; in ASCII where stdout takes no more, since a replaced character is no JSON."""
    text = printable_json(value)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        text = json.dumps(value, default=str)
    print(text)


def print_table(
    title: str | None,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    right: Sequence[str] = (),
) -> None:
    """A table on stdout, as wide as the terminal; whole and uncut when piped."""
    from rich.console import Console  # late: 0.1 s that --help need not pay

    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    with console.capture() as drawn:
        console.print(make_table(title, columns, rows, right=right))
    # Without the blanks that rich frames it in, but for one line before what comes next.
    lines = [line.rstrip() for line in drawn.get().split("\n")]
    print("\n".join(lines).strip("\n"), end="\n\n")


def make_table(
    title: str | None,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    right: Sequence[str] = (),
) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=title and Text(printable(title)),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        title_style="bold",
    )
    for column in columns:
        table.add_column(
            Text(printable(column)), justify="right" if column in right else "left", overflow="fold"
        )
    for row in rows:
        # As text: a caption in brackets is no markup.
        table.add_row(*(Text("" if cell is None else printable(str(cell))) for cell in row))
    return table


def progress_bar() -> "Progress":
    """On stderr, silent where that is no terminal, and under --quiet."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not (sys.stderr.isatty() and _notes.isEnabledFor(logging.INFO)),
        transient=True,
    )


def show_indexing(bar: "Progress", task: "TaskID", progress: "IndexProgress") -> None:
    """How far the build of an index is, as a task of the bar that appears with it."""
    bar.update(
        task,
        description=f"indexing {progress.modality}: {progress.phase}",
        total=progress.total or None,
        completed=progress.done,
        visible=True,
    )


def setup_logging(log_format: str, level: str, *, quiet: bool = False) -> None:
    """Logs are configured here and nowhere else; an unknown format or level is wrong usage.

    Args:
        quiet: no notes and no bars.
    """
    if level.lower() not in LEVELS:
        wrong("--log-level", f"{level!r} is not one of {', '.join(LEVELS)}")
    if log_format not in FORMATS:
        wrong("--log-format", f"{log_format!r} is not one of {', '.join(FORMATS)}")
    as_json = log_format == "json"
    if as_json:
        stderr.speak_json(_as_message)
    else:
        stderr.speak_text()
    to_json = JsonFormatter() if as_json else None
    root = logging.getLogger()
    root.handlers[:] = [
        _ToStderr(to_json or TextFormatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    ]
    _notes.handlers[:] = [_ToStderr(to_json or NoteFormatter())]
    root.setLevel(logging.WARNING)  # other people's libraries
    logger.setLevel(level.upper())
    _notes.setLevel(logging.WARNING if quiet else logging.INFO)


def speaks_json() -> bool:
    """Whether every line of stderr is a JSON object."""
    return isinstance(sys.stderr, stderr.JsonLines)


class _ToStderr(logging.Handler):
    """Writes to what ``sys.stderr`` is at the time."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)


def _as_message(line: str) -> str:
    """The JSON object of a line that somebody else has written."""
    return JsonFormatter().format(
        logging.LogRecord("stderr", logging.WARNING, "", 0, line, None, None)
    )


# Notes are for a person: without a time or a level, and none under --quiet.
_notes = logging.getLogger("pipeline.notes")
_notes.propagate = False
_notes.setLevel(logging.INFO)
_notes.handlers[:] = [_ToStderr(NoteFormatter())]
