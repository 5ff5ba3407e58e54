"""How a line of a log is written: for people, as JSON, or as a note; without anybody's secrets."""

import logging
from datetime import UTC, datetime
from typing import Any

from pipeline.cli.printing import printable, printable_json
from pipeline.references import redact_message

_STANDARD = set(vars(logging.makeLogRecord({})))


_LONGEST_LOGGED = 10_000


class TextFormatter(logging.Formatter):
    """One line a message, without the secrets of the references in it; tracebacks below it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (its name there)
        return printable(super().formatMessage(_redacted(record)))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        # Indented: an error's own words may have several lines, and none begins as a message does.
        lines = super().formatException(ei).split("\n")
        return "\n".join("  " + redact_message(line, _LONGEST_LOGGED) for line in lines)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and whatever ``extra`` holds."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _by_line(record.getMessage()),
            **{k: v for k, v in vars(record).items() if k not in _STANDARD and k != "message"},
        }
        if record.exc_info:
            line["traceback"] = _by_line(self.formatException(record.exc_info))
        return printable_json(line)


class NoteFormatter(logging.Formatter):
    """The words alone, in one line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (its name there)
        return printable(super().formatMessage(record))


def _by_line(text: str) -> str:
    """Without secrets, its lines kept: within a JSON string a line's end is no line's end."""
    return "\n".join(redact_message(line, _LONGEST_LOGGED) for line in text.split("\n"))


def _redacted(record: logging.LogRecord) -> logging.LogRecord:
    record.message = redact_message(record.getMessage(), _LONGEST_LOGGED)
    return record
