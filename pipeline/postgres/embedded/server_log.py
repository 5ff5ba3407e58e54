"""The embedded server's log, where it says why something failed."""

from pipeline.errors import EmbeddedServerError
from pipeline.postgres.embedded.home import Home

_SHOWN_LINES = 6


def failure(home: Home, what: str) -> EmbeddedServerError:
    """An error with the end of the log, and with what to do about it."""
    return EmbeddedServerError(with_lines(what, last_lines(home), home))


def last_lines(home: Home) -> list[str]:
    """The end of the log written last: the day's, or the start's if it got no further."""
    logs = [*home.log.glob("postgresql-*.log"), home.startup_log]
    logs = [log for log in logs if log.is_file() and not log.is_symlink()]
    if not logs:
        return []
    newest = max(logs, key=lambda log: log.stat().st_mtime_ns)
    with newest.open("rb") as file:
        file.seek(max(0, newest.stat().st_size - 8192))
        return file.read().decode(errors="replace").splitlines()


def with_lines(what: str, lines: list[str], home: Home) -> str:
    """What failed, what to do as far as the lines tell, and the last of them."""
    text = "\n".join(lines[-_SHOWN_LINES:])
    if "No space left on device" in text or "Disk quota exceeded" in text:
        advice = f"free space on the disk of {home.path}"
    elif "shared memory" in text:
        advice = f"give the machine more shared memory, or lower shared_buffers in {home.data}"
    elif "checkpoint record" in text or "could not open file" in text:
        advice = f"see {home.log}; if the data can be made again, move {home.data} away"
    else:
        advice = f"see {home.log}"
    shown = "".join(f"\n| {line}" for line in lines[-_SHOWN_LINES:])
    return f"{what}; {advice}{shown}"
