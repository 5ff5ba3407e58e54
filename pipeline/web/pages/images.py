"""Small images of items."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.search.item_image import item_image
from pipeline.web.images import LARGE, SIDE, none_of_it
from pipeline.web.parts import Parts

_LARGE = "-large.webp"
# A browser asks again after so long, since the right to see it may be gone.
_KEPT = {"Cache-Control": "private, max-age=600"}


def routes(parts: Parts) -> list[Route]:
    """``/images/ID.webp`` and ``/images/ID-large.webp``, of an item that this login sees."""

    def image(request: Request) -> Response:
        item = request.path_params["item"]
        found = parts.reading.read(lambda connection: item_image(connection, item))
        if found is None:
            raise none_of_it()
        side = LARGE if request.url.path.endswith(_LARGE) else SIDE
        tag = f'"{found.sha256[:32]}-{side}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={**_KEPT, "ETag": tag})
        small = parts.images.of_item(found, side)
        return Response(small, media_type="image/webp", headers={**_KEPT, "ETag": tag})

    return [
        Route("/images/{item:int}.webp", image),
        Route(f"/images/{{item:int}}{_LARGE}", image),
    ]
