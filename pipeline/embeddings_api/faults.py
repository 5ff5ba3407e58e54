"""What an API answers that cannot do what is asked, as OpenAI's clients read it."""

from typing import Any

from pipeline.errors import (
    ModelError,
    ModelUnavailable,
    OutOfMemory,
    PermanentRowError,
    PipelineError,
    RowError,
)


class ApiError(Exception):
    """One answer that is no success.

    Args:
        status: of HTTP.
        code: short, for programs.
        param: of the request, such as ``input[3]``.
    """

    def __init__(self, status: int, message: str, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param

    def body(self) -> dict[str, Any]:
        """See https://platform.openai.com/docs/guides/error-codes."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        if self.status == 429:
            kind = "rate_limit_error"
        said = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": said}

    def headers(self) -> dict[str, str]:
        if self.status == 401:
            return {"WWW-Authenticate": "Bearer"}
        return {"Retry-After": "1"} if self.status in (429, 503) else {}


def bad(message: str, param: str | None = None, code: str = "invalid_value") -> ApiError:
    """The request is wrong, and stays so."""
    return ApiError(400, message, code, param)


def of_input(error: RowError, index: int) -> ApiError:
    """One of the inputs cannot be embedded."""
    status = 400 if isinstance(error, PermanentRowError) else 503
    place = f"input[{index}]"
    return ApiError(status, f"{place}: {error.message}", error.code, place)


def of_model(error: PipelineError | MemoryError) -> ApiError:
    """The model does not do what it should, which is the fault of no input."""
    if isinstance(error, ModelUnavailable | OutOfMemory | MemoryError):
        return ApiError(503, f"the model gives no vectors now: {error}", "model_unavailable")
    kind = "model" if isinstance(error, ModelError) else "server"
    return ApiError(500, f"the {kind} is broken; its log says how", "internal")
