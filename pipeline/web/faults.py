"""What a page answers that cannot do what is asked. Its words name nothing of this machine."""

import logging

import psycopg

from pipeline.errors import (
    ConfigurationError,
    DatabaseError,
    MissingExtra,
    ModelError,
    PermanentRowError,
    PipelineError,
    RowError,
    SpaceError,
)
from pipeline.postgres.connections import explain

logger = logging.getLogger(__name__)

TOO_LONG = "57014"  # query_canceled, by our own statement_timeout
# What the database says of an argument, in words that are ours: see sql/functions.
_OF_ARGUMENTS = ("22", "P0002", "MM00")


class PageError(Exception):
    """One answer that is no success.

    Args:
        status: of HTTP.
        message: what happened, for whoever asked.
        hint: what to do.
        see: the page of ours that has it instead.
    """

    def __init__(self, status: int, message: str, hint: str = "", see: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.hint = hint
        self.see = see


def as_page_error(error: Exception) -> PageError:
    """The answer to an error: its own words where they are of the request, else the log has them.

    Messages of the database, of models and of the system may name files and hosts.
    """
    match error:
        case PageError():
            return error
        case RowError():
            status = 400 if isinstance(error, PermanentRowError) else 503
            return PageError(status, f"The query cannot be embedded: {error.message}.")
        case psycopg.Error() if error.sqlstate == TOO_LONG:
            return PageError(
                503, "This takes too long.", "Ask for less: one modality, or without a filter."
            )
        case psycopg.Error() if (error.sqlstate or "").startswith(_OF_ARGUMENTS):
            hint = error.diag.message_hint
            said = error.diag.message_primary or explain(error)
            return PageError(400, _sentence(said), _sentence(hint) if hint else "")
        case psycopg.errors.InsufficientPrivilege():
            logger.warning("the login of the pages lacks a right: %s", explain(error))
            return PageError(403, "The login of these pages has no right to this.", _RIGHTS)
        case MissingExtra():
            return PageError(503, _sentence(str(error)))
        case SpaceError():
            return PageError(503, _sentence(str(error)))
        case ConfigurationError() if isinstance(error.__cause__, psycopg.Error):
            return PageError(400, _sentence(str(error)))
    logger.error("a page failed", exc_info=error)
    match error:
        case psycopg.Error() | DatabaseError():
            return PageError(503, "The database does not answer as it should.", _LOG)
        case ModelError():
            return PageError(503, "The model cannot be used.", _LOG)
        case PipelineError():
            return PageError(503, "This cannot be done now.", _LOG)
    return PageError(500, "The page is broken.", _LOG)


_RIGHTS = (
    "Reading needs those of `pipeline_analyst`, a change those of `pipeline_ingest`; "
    "the log has the right that is lacking."
)
_LOG = "The log of `pipeline web` says why."


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."
