"""What goes to stderr under ``--log-format json``: one JSON object a line, whoever writes it."""

import io
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TextIO

# Bars of other people's libraries: a line a step, if they are not told.
_NO_BARS = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}


def asks_for_json(arguments: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether the person wants JSON, known before the command line is understood.

    It may be one that is not: then its error is JSON as well.
    """
    found = environment.get("PIPELINE_LOG_FORMAT", "")
    ours = list(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    for here, after in pairwise([*ours, ""]):
        name, equals, value = here.partition("=")
        if name == "--log-format":
            found = value if equals else after
    return found == "json"


class JsonLines(io.TextIOBase):
    """A stream on which every line is a JSON object; any other line becomes a message in one."""

    def __init__(self, stream: TextIO, wrapped: Callable[[str], str]) -> None:
        """``wrapped`` gives the JSON object of a line that is none."""
        self.stream = stream
        self._wrapped = wrapped
        self._rest = ""
        self._lock = threading.RLock()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self.stream.errors

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.stream.fileno()

    def write(self, text: str) -> int:
        with self._lock:
            # A carriage return is how a bar begins its line again.
            *lines, self._rest = (self._rest + text.replace("\r", "\n")).split("\n")
            for line in lines:
                self._put(line)
        return len(text)

    def flush(self) -> None:
        with self._lock:
            rest, self._rest = self._rest, ""
            self._put(rest)
            self.stream.flush()

    def _put(self, line: str) -> None:
        if line.strip():
            self.stream.write(f"{line if _is_object(line) else self._wrapped(line)}\n")


def speak_json(wrapped: Callable[[str], str]) -> None:
    """From now on: prints, warnings, and what ends a thread."""
    os.environ.update(_NO_BARS)
    if not isinstance(sys.stderr, JsonLines):
        sys.stderr = JsonLines(sys.stderr, wrapped)
    logging.captureWarnings(True)
    threading.excepthook = _log_end_of_thread


def speak_text() -> None:
    """As Python does by itself."""
    if isinstance(sys.stderr, JsonLines):
        sys.stderr.flush()
        sys.stderr = sys.stderr.stream
        logging.captureWarnings(False)
        threading.excepthook = threading.__excepthook__


def _log_end_of_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_type is SystemExit or ended.exc_value is None:
        return
    logging.getLogger("pipeline").error(
        "a thread ended: %s",
        ended.exc_value,
        exc_info=(ended.exc_type, ended.exc_value, ended.exc_traceback),
    )


def _is_object(line: str) -> bool:
    if not line.startswith("{"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
