"""What is answered where there is no page."""

from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from pipeline.web.faults import PageError, as_page_error
from pipeline.web.guard import LOGIN
from pipeline.web.rendering import page

API = "/api/"
_WORDS = {404: "There is no such page.", 405: "This page takes no such request."}


def answer(request: Request, error: Exception) -> Response:
    """A page that says what happened; a line to what shows no page; of the API an object."""
    if isinstance(error, HTTPException):
        error = PageError(error.status_code, _WORDS.get(error.status_code, error.detail))
    found = as_page_error(error)
    path = request.url.path.removeprefix(request.scope.get("root_path", ""))
    headers = {"WWW-Authenticate": "Bearer"} if found.status == 401 else {}
    if path.startswith(API):
        return JSONResponse({"message": found.message, "hint": found.hint}, found.status, headers)
    if "text/html" not in request.headers.get("accept", "") or request.headers.get("hx-request"):
        return PlainTextResponse(f"{found.message} {found.hint}".strip(), found.status, headers)
    asked = f"{path}?{request.url.query}" if request.url.query else path
    login = f"{LOGIN}?{urlencode({'next': asked})}"
    response = page(request, "error.html", status=found.status, error=found, login=login)
    response.headers.update(headers)
    return response
