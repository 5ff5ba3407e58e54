"""What an assistant is told of an error: what happened and what to do, nothing of this machine."""

import logging

import psycopg
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import ValidationError

from pipeline.errors import ConfigurationError, NotServed, PipelineError, RowError, SpaceError
from pipeline.postgres.connections import explain

logger = logging.getLogger(__name__)

_TOO_LONG = "57014"  # query_canceled, by our own statement_timeout
# What the database says of an argument, in words that are ours: see sql/functions.
_OF_ARGUMENTS = ("22", "P0002", "MM00")


def as_tool_error(error: BaseException) -> ToolError:
    """Its own words where they are of the request, else the log has them.

    Messages of the database and of the system may name files and hosts.
    """
    match error:
        case ToolError():
            return error
        case ValidationError():
            return ToolError("; ".join(_of_arguments(error)))
        case NotServed():
            return ToolError(
                "Nobody turns queries into vectors now: somebody has to start `pipeline serve`. "
                "The tools similar, item and counts work."
            )
        case RowError():
            return ToolError(f"The query cannot be embedded: {error.message}.")
        case ConfigurationError() | SpaceError():
            return ToolError(_sentence(str(error)))
        case psycopg.Error() if error.sqlstate == _TOO_LONG:
            return ToolError("This takes too long: ask for one modality, or without a filter.")
        case psycopg.Error() if (error.sqlstate or "").startswith(_OF_ARGUMENTS):
            return ToolError(_sentence(explain(error)))
    logger.error("a tool failed", exc_info=error)
    if isinstance(error, (psycopg.Error, PipelineError)):
        return ToolError("The database does not answer as it should: the log says why. Try later.")
    return ToolError("The tool is broken: the log says why.")


def _of_arguments(error: ValidationError) -> list[str]:
    """One for each argument, without the value, which may be a whole image."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in found]


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."
