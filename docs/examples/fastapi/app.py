"""A web application that searches: FastAPI, an AsyncSession, and an AsyncClient over its engine.

`pip install pgvector-crossmodal-pipeline fastapi uvicorn`, and `uvicorn app:app` with DATABASE_URL
as SQLAlchemy writes it: postgresql+psycopg://... or postgresql+asyncpg://... Elsewhere
`pipeline serve` and `pipeline ingest --watch` run; no model is loaded here.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import JSONResponse
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from pipeline import AsyncClient, MultimodalItem, Neighbour, SourceItem, nearest_to, text_embedding
from pipeline.errors import ConfigurationError, NotServed, RowError

LARGEST_IMAGE = 8 * 2**20  # bytes
Count = Annotated[int, Query(ge=1, le=100)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One engine and one client, for as long as the application runs."""
    engine = create_async_engine(os.environ["DATABASE_URL"], pool_pre_ping=True)
    async with AsyncClient(engine=engine, timeout=10) as client:
        app.state.engine, app.state.client = engine, client
        yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


async def session_of(request: Request) -> AsyncIterator[AsyncSession]:
    async with AsyncSession(request.app.state.engine) as session:
        yield session


def client_of(request: Request) -> AsyncClient:
    client: AsyncClient = request.app.state.client
    return client


Client = Annotated[AsyncClient, Depends(client_of)]
Session = Annotated[AsyncSession, Depends(session_of)]


@app.exception_handler(NotServed)
async def nobody_embeds(request: Request, exc: NotServed) -> JSONResponse:
    return JSONResponse({"detail": str(exc)}, 503, {"Retry-After": "10"})


@app.exception_handler(ConfigurationError)
@app.exception_handler(RowError)
async def not_to_be_searched_by(request: Request, exc: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(exc)}, 422)


def shown(found: list[Neighbour]) -> list[dict[str, Any]]:
    return [
        {"id": n.document.id, "content": n.document.content_ref, "similarity": n.similarity}
        for n in found
    ]


@app.get("/search")
async def search(client: Client, text: str, modality: str | None = None, k: Count = 10) -> Any:
    return shown(await client.search(text, modality=modality, k=k))


@app.post("/search")
async def search_by_image(client: Client, request: Request, k: Count = 10) -> Any:
    """The body is the image's file."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > LARGEST_IMAGE:
            raise HTTPException(413, f"an image has at most {LARGEST_IMAGE} bytes")
    return shown(await client.search(image=bytes(data), k=k))


@app.get("/items/{item}/similar")
async def similar(client: Client, item: int, modality: str | None = None, k: Count = 10) -> Any:
    return shown(await client.similar(item, modality=modality, k=k))


@app.get("/sources/{source}/images")
async def images_of(
    client: Client,
    session: Session,
    source: str,
    text: str,
    after: int | None = None,
    k: Count = 10,
) -> Any:
    """Images of one source, page by page: a select() that composes like the application's own."""
    await client.embed([text])  # so that text_embedding() finds it
    query = (
        nearest_to(text_embedding(text), modality="image", after=after)
        .join(SourceItem, SourceItem.id == MultimodalItem.source_id)
        .where(SourceItem.source == source)
        .limit(k)
    )
    rows = (await session.execute(query)).all()
    return [
        {"id": item.id, "content": item.content_ref, "similarity": similarity}
        for item, similarity in rows
    ]
