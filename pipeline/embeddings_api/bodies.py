"""Bodies of requests, bounded each, in all, and in time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from pipeline.embeddings_api.faults import ApiError

# That a small request counts for: it takes more than its body.
_LEAST = 64 * 2**10
_SECONDS = 60.0


class Bodies:
    """How many bytes all requests may hold at a time; used in one event loop.

    Args:
        most: bytes of one body.
        in_all: bytes of all.
        kind: the media type that a body has to be of. Not one that a form can have, so that no page
            of somebody else's can send it unasked.
    """

    def __init__(self, most: int, in_all: int, kind: str = "application/json") -> None:
        self._most = most
        self._free = in_all
        self._kind = kind

    @asynccontextmanager
    async def held(self, request: Request) -> AsyncIterator[bytes]:
        """The request's body, which counts until the block ends.

        Raises:
            ApiError: 408, 413, 415, or 429 where others hold too much.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != self._kind:
            raise ApiError(415, f"a body of {self._kind} is expected", "unsupported_media_type")
        said = request.headers.get("content-length", "")
        size = int(said) if said.isdecimal() else self._most
        if size > self._most:
            raise self._too_large()
        size = max(size, _LEAST)
        if size > self._free:
            raise ApiError(429, "too many requests wait; try again a little later", "busy")
        self._free -= size
        try:
            yield await self._read(request)
        finally:
            self._free += size

    async def _read(self, request: Request) -> bytes:
        body = bytearray()
        try:
            async with asyncio.timeout(_SECONDS):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > self._most:
                        raise self._too_large()
        except TimeoutError:
            raise ApiError(408, f"the body took more than {_SECONDS:g} s", "timeout") from None
        except ClientDisconnect as exc:
            raise HTTPException(400) from exc  # nobody reads it
        return bytes(body)

    def _too_large(self) -> ApiError:
        return ApiError(413, f"a request has at most {self._most:,} bytes", "request_too_large")
