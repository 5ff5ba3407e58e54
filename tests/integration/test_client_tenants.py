"""Row-level security through the clients: two tenants of one table, by login and by setting."""

import asyncio
import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import create_engine, event, text
from sqlalchemy.ext.asyncio import create_async_engine

from pipeline import AsyncClient, Client
from pipeline.errors import ConfigurationError
from pipeline.integrations.langchain import ItemRetriever
from pipeline.integrations.llama_index import ItemRetriever as NodeRetriever
from pipeline.integrations.mcp.reader import Reader
from pipeline.integrations.mcp.server import mcp_server
from pipeline.loaders import Loader, LoadOptions
from pipeline.postgres.connections import Connection
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.attached import attach, shopkeeper
from tests.helpers.clients import Awaited, asyncpg_engine, psycopg_url
from tests.helpers.databases import login_url, role
from tests.helpers.fakes import vector_of
from tests.helpers.images import encode, sample
from tests.helpers.workers import work
from tests.integration.test_mcp import ask, said
from tests.integration.test_serve import serving

pytestmark = pytest.mark.usefixtures("dblink")

TENANTS = ("north", "south")
POLICIES = """
GRANT USAGE ON SCHEMA shop TO pipeline_analyst;
ALTER TABLE source_items ENABLE ROW LEVEL SECURITY;
ALTER TABLE multimodal_items ENABLE ROW LEVEL SECURITY;
CREATE POLICY everything ON source_items TO pipeline_ingest, pipeline_owner USING (true);
CREATE POLICY everything ON multimodal_items TO pipeline_ingest, pipeline_owner USING (true);
CREATE POLICY tenant ON source_items TO pipeline_analyst
    USING (metadata->>'tenant' = coalesce(current_setting('app.tenant', true), current_user));
CREATE POLICY tenant ON multimodal_items TO pipeline_analyst
    USING (metadata->>'tenant' = coalesce(current_setting('app.tenant', true), current_user));
"""
TENANT: ContextVar[str] = ContextVar("tenant")


@pytest.fixture
def tenants(connection: Connection, url: str, settings: Settings, space: Space) -> Iterator[None]:
    """Two logins, and a table of products of both that is attached."""
    table = "CREATE TABLE shop.products (id bigint PRIMARY KEY, title text NOT NULL, tenant text)"
    with ExitStack() as stack:
        shop = stack.enter_context(shopkeeper(connection, url, table))
        for name in (*TENANTS, "web"):
            stack.enter_context(role(connection, name, "LOGIN IN ROLE pipeline_analyst"))
        attach(shop, contents={"title": {"modality": "text", "content": "title"}},
               metadata="{tenant}")  # fmt: skip
        shop.execute(
            "INSERT INTO shop.products VALUES (1, 'a bike', 'north'), (2, 'a boat', 'south'), "
            "(3, 'a bike too', 'south')"
        )
        assert work(settings, space).done == 3
        connection.execute(POLICIES.encode())
        yield


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def number_of(connection: Connection, title: str) -> int:
    row = connection.execute(
        "SELECT id FROM multimodal_items WHERE content_ref = %s", (title,)
    ).fetchone()
    assert row is not None
    return int(row[0])


def check_sees_its_own(connection: Connection, client: Client, tenant: str) -> None:
    """By every door of a client."""
    own, others = {
        "north": (["a bike"], "a boat"),
        "south": (["a bike too", "a boat"], "a bike"),
    }[tenant]
    for found in (
        client.search("a bike", k=3),
        client.search("a bike", k=3, modality="text", ranking="raw"),
        client.search(vector=vector_of(b"a boat"), k=3),
        client.search("a bike", k=3, filter={"tenant": "south"} if tenant == "south" else {}),
        client.search(blend=[("a bike", 1), (number_of(connection, own[0]), 0.5)], k=3),
        client.rows("products", "a bike", k=3),
    ):
        assert sorted(one.document.content_ref for one in found) == own
    assert (
        client.search("a bike", filter={"tenant": {"north": "south", "south": "north"}[tenant]})
        == []
    )
    assert client.count() == len(own)
    stranger = number_of(connection, others)
    for work_ in (
        lambda: client.similar(stranger),
        lambda: client.search(blend=[(stranger, 1.0)]),
        lambda: client.rows("products", item=stranger),
    ):
        with pytest.raises(ConfigurationError, match=f"there is no item {stranger}"):
            work_()


@pytest.mark.usefixtures("tenants")
def test_each_login_finds_its_own_rows(connection: Connection, url: str) -> None:
    with serving(url), asyncio.Runner() as runner:
        for tenant in TENANTS:
            with Client(login_url(url, tenant)) as client:
                check_sees_its_own(connection, client, tenant)
            awaited: Any = Awaited(AsyncClient(login_url(url, tenant)), runner)
            try:
                check_sees_its_own(connection, awaited, tenant)
            finally:
                awaited.close()


@pytest.mark.usefixtures("tenants")
def test_so_it_does_through_what_is_built_on_clients(
    connection: Connection, url: str, settings: Settings, space: Space
) -> None:
    """LangChain, LlamaIndex and an assistant's tools: rows, counts and images."""
    image = base64.b64encode(encode(sample(), "PNG")).decode()
    for tenant in TENANTS:
        connection.execute(
            "INSERT INTO source_items (source, source_key, modality, content_ref, metadata) "
            "VALUES ('images', %s, 'image', %s, jsonb_build_object('tenant', %s::text))",
            (tenant, f"data:image/png;base64,{image}", tenant),
        )
    assert work(settings, space, load=Loader(LoadOptions.of(settings)).load).done == 2
    owner = dict(
        connection.execute("SELECT id, metadata ->> 'tenant' FROM multimodal_items").fetchall()
    )
    images = {
        owner[number]: number
        for (number,) in connection.execute(
            "SELECT id FROM multimodal_items WHERE modality = 'image'"
        )
    }
    with serving(url):
        for tenant, other in (TENANTS, TENANTS[::-1]):
            own = {number for number, name in owner.items() if name == tenant}
            theirs = Settings.load(database_url=login_url(url, tenant))
            with Client(settings=theirs) as client, Reader(theirs) as reader:
                chain = ItemRetriever(client=client).invoke("a bike")
                nodes = NodeRetriever(client).retrieve("a bike")
                tools = mcp_server(reader)
                found = ask(tools, "search", text="a bike").structured_content
                like = ask(tools, "search", image=image)
                assert found is not None
                assert like.structured_content is not None
                assert (
                    {int(one.id or 0) for one in chain}
                    == {int(one.node.node_id) for one in nodes}
                    == {one["id"] for one in found["matches"]}
                    == {one["id"] for one in like.structured_content["matches"]}
                    == own
                )
                counts = ask(tools, "counts").structured_content
                assert counts is not None
                assert sum(one["items"] for one in counts["items"]) == len(own)
                assert counts["queue"] is None
                # The tenants' images are alike, so that the score of one is no number.
                assert json.loads(said(like), parse_constant=refuse) == like.structured_content
                assert len(ask(tools, "item", item=images[tenant]).content) == 2
                for stranger in owner.keys() - own:
                    for tool in ("item", "similar"):
                        refused = ask(tools, tool, item=stranger)
                        assert refused.is_error
                        assert said(refused).startswith(f"There is no item {stranger}")
                assert ask(tools, "search", text="a bike", filter={"tenant": other}) == (
                    ask(tools, "search", text="a bike", filter={"tenant": "nobody"})
                )


@pytest.mark.usefixtures("tenants")
def test_a_setting_in_the_url_holds(connection: Connection, url: str) -> None:
    with serving(url):
        for tenant in TENANTS:
            own = f"{login_url(url, 'web')}&options=-c%20app.tenant%3D{tenant}"
            with Client(own) as client:
                check_sees_its_own(connection, client, tenant)


@contextmanager
def web_client(kind: str, url: str) -> Iterator[Any]:
    """A client over an engine that says in each transaction whose request it is."""

    def begin(connection: SqlConnection) -> None:
        connection.execute(
            text("SELECT set_config('app.tenant', :tenant, true)"), {"tenant": TENANT.get()}
        )

    web = login_url(url, "web")
    if kind == "psycopg":
        engine = create_engine(psycopg_url(web), pool_size=1, max_overflow=0)
        event.listen(engine, "begin", begin)
        try:
            yield Client(engine=engine)
        finally:
            engine.dispose()
        return
    with asyncio.Runner() as runner:
        one = {"pool_size": 1, "max_overflow": 0}
        awaited = (
            create_async_engine(psycopg_url(web), **one)
            if kind == "async psycopg"
            else asyncpg_engine(web, **one)
        )
        event.listen(awaited.sync_engine, "begin", begin)
        try:
            yield Awaited(AsyncClient(engine=awaited), runner)
        finally:
            runner.run(awaited.dispose())


@pytest.mark.usefixtures("tenants")
@pytest.mark.parametrize("kind", ["psycopg", "async psycopg", "async asyncpg"])
def test_what_an_application_sets_in_its_transactions_holds(
    connection: Connection, url: str, kind: str
) -> None:
    """On one connection, which first one and then the other uses."""
    with serving(url), web_client(kind, url) as client:
        for tenant in (*TENANTS, *TENANTS):
            TENANT.set(tenant)
            check_sees_its_own(connection, client, tenant)
