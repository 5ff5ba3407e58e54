"""What the database says of attaching, in the words of the command line.

The functions of the schema are called from SQL, and their hints say what to write there:
``key => '{id}'`` is ``--key id`` here.
"""

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.cli.output import note
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from pipeline.postgres.connections import Connection

_TEXT = r"'((?:[^']|'')*)'"
_OPTIONS = "key|metadata|depends_on|name|capture|on_error|filter"


def _columns(found: re.Match[str]) -> str:
    option, columns = _option(found[1]), found[2]
    if found[1] == "depends_on":  # which takes one, and may be repeated
        return " ".join(f"{option} {_quoted(one.strip())}" for one in columns.split(","))
    return f"{option} {_quoted(columns)}"


def _detach(found: re.Match[str]) -> str:
    return f"pipeline detach {_quoted(found[1])}" + " --keep-items" * bool(found[2])


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _quoted(text: str) -> str:
    """As a shell takes it, of what stands between quotes of SQL."""
    return shlex.quote(text.replace("''", "'"))


_WORDS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (re.compile(rf"SELECT detach_source\({_TEXT}(, keep_items => true)?\);?"), _detach),
    (re.compile(rf"\battach_source\({_TEXT}, \.\.\.\)"),
     lambda found: f"pipeline attach {_quoted(found[1])} ..."),
    (re.compile(r"SELECT \* FROM attached_source_status;?"), lambda _: "pipeline attach --list"),
    (re.compile(rf"\b({_OPTIONS}) => '{{([^']*)}}'"), _columns),
    (re.compile(rf"\b({_OPTIONS}) => {_TEXT}"),
     lambda found: f"{_option(found[1])} {_quoted(found[2])}"),
    (re.compile(r"\bon_error(?= is )"), lambda _: "--on-error"),
    (re.compile(r'"each"'), lambda _: "--each"),
)  # fmt: skip


def as_options(said: str) -> str:
    """The same with options and commands instead of arguments and calls."""
    for words, ours in _WORDS:
        said = words.sub(ours, said)
    return said


@contextmanager
def told_as_options() -> Iterator[None]:
    """Errors from within speak so."""
    try:
        yield
    except PipelineError as exc:
        if exc.args == (str(exc),):
            exc.args = (as_options(str(exc)),)
        raise


def tell_warnings(connection: "Connection") -> None:
    """What the database warns of from now on, told on stderr."""
    connection.add_notice_handler(
        lambda notice: (
            note(f"pipeline: {notice.message_primary}; {as_options(notice.message_hint or '')}")
            if notice.severity_nonlocalized == "WARNING"
            else None
        )
    )
