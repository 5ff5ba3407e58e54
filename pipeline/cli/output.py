"""How commands speak: tables and JSON on stdout; progress, notes, logs and errors on stderr."""

import logging
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from pipeline.cli.printing import printable, printable_json
from pipeline.errors import DatabaseError
from pipeline.references import redact_message

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID
    from rich.table import Table

    from pipeline.spaces import IndexProgress

EX_TEMPFAIL = 75  # sysexits.h: a scheduler should try again
LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")

logger = logging.getLogger("pipeline")


def fail(exc: BaseException, code: int = 1, *, reason: str | None = None) -> NoReturn:
    """One line for a person, the traceback at --log-level debug."""
    logger.debug("failed", exc_info=exc)
    note(f"pipeline: {' '.join((reason or str(exc)).split())}")
    sys.exit(code)


def exit_code(exc: Exception) -> int:
    """75 where the database is merely out of reach, so that a scheduler tries again; else 1."""
    psycopg = sys.modules.get("psycopg")  # unless it is loaded already, the error is not its own
    if psycopg is None or not isinstance(exc, (psycopg.Error, DatabaseError)):
        return 1
    from pipeline.postgres.reconnect import is_temporary

    return EX_TEMPFAIL if is_temporary(exc) else 1


def refusal(exc: Exception) -> str | None:
    """Why the database or the system refused, in its words; None for any other error, a bug."""
    if isinstance(exc, OSError):
        return f"{exc.filename or 'the system refuses'}: {exc.strerror or exc}"
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
    print(printable(message), file=sys.stderr)


def say(line: str) -> None:
    """One line on stdout, whoever gave the words in it."""
    print(printable(line))


def shortened(text: str, length: int = 100) -> str:
    """For one cell of a table."""
    return text if len(text) <= length else text[: length - 1] + "…"


def print_json(value: Any) -> None:
    print(printable_json(value))


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
    """On stderr, silent where that is no terminal."""
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
        disable=not sys.stderr.isatty(),
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


def setup_logging(log_format: str, level: str) -> None:
    """Logs are configured here and nowhere else; an unknown format or level is wrong usage."""
    if level.lower() not in LEVELS:
        wrong("--log-level", f"{level!r} is not one of {', '.join(LEVELS)}")
    if log_format not in FORMATS:
        wrong("--log-format", f"{log_format!r} is not one of {', '.join(FORMATS)}")
    handler = logging.StreamHandler()
    handler.setFormatter(
        _JsonFormatter()
        if log_format == "json"
        else _TextFormatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)  # other people's libraries
    logging.getLogger("pipeline").setLevel(level.upper())


_STANDARD = set(vars(logging.makeLogRecord({})))


_LONGEST_LOGGED = 10_000


class _TextFormatter(logging.Formatter):
    """One line a message, without the secrets of the references in it; tracebacks below it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (its name there)
        return printable(super().formatMessage(_redacted(record)))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        # Indented: an error's own words may have several lines, and none begins as a message does.
        lines = super().formatException(ei).split("\n")
        return "\n".join("  " + redact_message(line, _LONGEST_LOGGED) for line in lines)


class _JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and whatever ``extra`` holds."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _redacted(record).message,
            **{k: v for k, v in vars(record).items() if k not in _STANDARD and k != "message"},
        }
        if record.exc_info:
            traceback = self.formatException(record.exc_info)
            line["traceback"] = "\n".join(
                redact_message(part, _LONGEST_LOGGED) for part in traceback.split("\n")
            )
        return printable_json(line)


def _redacted(record: logging.LogRecord) -> logging.LogRecord:
    record.message = redact_message(record.getMessage(), _LONGEST_LOGGED)
    return record
