"""Files that somebody drops, pastes or chooses, to search by."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.embeddings_api.bodies import Bodies
from pipeline.embeddings_api.faults import ApiError
from pipeline.web.faults import PageError, as_page_error
from pipeline.web.parts import Parts

# That a form cannot have, so that no page of another site can send one unasked.
KIND = "application/octet-stream"


def routes(parts: Parts) -> list[Route]:
    """``POST /files`` gives a file a name for ``/?file=NAME``; ``GET /files/NAME`` its image."""
    bodies = Bodies(parts.options.upload_bytes, parts.options.uploads_in_all, KIND)

    def named(data: bytes) -> str:
        return parts.finder.of_file(data, parts.images.of_bytes(data))

    async def add(request: Request) -> Response:
        try:
            async with bodies.held(request) as data:
                name = await run_in_threadpool(named, data)
        except ApiError as exc:
            return JSONResponse({"error": exc.message}, exc.status, exc.headers())
        except Exception as exc:
            error = as_page_error(exc)
            return JSONResponse({"error": f"{error.message} {error.hint}".strip()}, error.status)
        return JSONResponse({"file": name}, 201)

    def image(request: Request) -> Response:
        small = parts.finder.files.get(request.path_params["name"]).image
        if small is None:
            raise PageError(404, "There is no image of it.")
        return Response(small, media_type="image/webp")

    return [
        Route("/files", add, methods=["POST"]),
        Route("/files/{name}", image),
    ]
