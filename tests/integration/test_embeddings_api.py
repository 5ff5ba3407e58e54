"""OpenAI's embeddings API over the active space's model: what it answers, and what it refuses."""

import base64
import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from pipeline.embeddings_api.door import Door
from pipeline.embeddings_api.served import Current
from pipeline.errors import ConfigurationError
from pipeline.modalities import IMAGE as IMAGE_MODALITY
from pipeline.modalities import ReadOptions
from pipeline.postgres.connections import Connection, fetch_one
from pipeline.spaces import Space
from tests.helpers.embeddings_api import api, client
from tests.helpers.fakes import FakeEmbedder, vector_of
from tests.helpers.images import encode, sample
from tests.helpers.processes import wait_until

NAME = "fake"
TEXTS = ["a red bicycle", "two cats", "naïve café"]
IMAGE = encode(sample(), "PNG")


def data_uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


@pytest.fixture
def door(space: Space) -> Iterator[Door]:
    with api(space) as door:
        yield door


def post(door: Door, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body)
    sent = {"Content-Type": "application/json", **headers}
    return httpx.post(f"{door.url}/embeddings", content=content, headers=sent, timeout=60)


def refusal(answer: httpx.Response) -> tuple[int, str, str | None, str]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"], error["message"]


def vector(answer: httpx.Response) -> list[list[float]]:
    assert answer.status_code == 200, answer.text
    return [one["embedding"] for one in answer.json()["data"]]


def test_openais_client_has_its_vectors(door: Door, connection: Connection) -> None:
    asks = client(door)
    (model,) = asks.models.list().data
    assert (model.id, model.owned_by) == (NAME, "pipeline")
    assert asks.models.retrieve(NAME).id == NAME
    by_default = asks.embeddings.create(model=NAME, input=TEXTS)  # base64
    as_floats = asks.embeddings.create(model=NAME, input=TEXTS, encoding_format="float")
    for answer in (by_default, as_floats):
        assert [one.index for one in answer.data] == [0, 1, 2]
        for text, one in zip(TEXTS, answer.data, strict=True):
            np.testing.assert_allclose(one.embedding, vector_of(text.encode()), atol=1e-6)
        assert answer.model == NAME
        assert answer.usage.total_tokens == answer.usage.prompt_tokens >= 3
    (one,) = asks.embeddings.create(model=NAME, input=TEXTS[0], dimensions=8).data
    np.testing.assert_allclose(one.embedding, vector_of(TEXTS[0].encode()), atol=1e-6)
    # Nothing of it is kept.
    for table in ("query_embeddings", "query_files"):
        assert fetch_one(connection.execute(f"SELECT count(*) FROM {table}")) == (0,)


def test_an_image_is_asked_for_in_the_forms_of_three_services(door: Door) -> None:
    link = {"type": "image_url", "image_url": {"url": data_uri(IMAGE)}}
    answer = post(door, {"model": NAME, "input": [
        {"image": data_uri(IMAGE)}, {"image": base64.b64encode(IMAGE).decode()},
        link, {"content": [link]}, {"text": TEXTS[0]}, TEXTS[0],
        {"content": [{"type": "text", "text": TEXTS[0]}]},
    ]})  # fmt: skip
    *images, one, two, three = vector(answer)
    assert all(image == images[0] for image in images)
    assert one == two == three != images[0]
    infinitys = {"model": NAME, "input": [data_uri(IMAGE)], "modality": "image"}
    assert vector(post(door, infinitys)) == [images[0]]
    # A text is a text, whatever stands in it.
    (text,) = vector(post(door, {"model": NAME, "input": data_uri(IMAGE)}))
    assert text != images[0]


@pytest.mark.parametrize(
    ("body", "code", "param", "says"),
    [
        (b"{", "invalid_value", None, "no JSON object"),
        ([], "invalid_value", None, "no JSON object"),
        ({"input": "a"}, "invalid_value", "model", "GET /v1/models"),
        ({"model": NAME}, "invalid_value", "input", "a text, an image"),
        ({"model": NAME, "input": []}, "invalid_value", "input", "a text, an image"),
        ({"model": NAME, "input": [1, 2]}, "invalid_value", "input", "holds tokens"),
        ({"model": NAME, "input": [[1]]}, "invalid_value", "input", "check_embedding_ctx_length"),
        ({"model": NAME, "input": ["a"] * 11}, "invalid_value", "input", "at most 10"),
        ({"model": NAME, "input": ["a", ""]}, "empty_text", "input[1]", "input[1]: "),
        ({"model": NAME, "input": ["a", None]}, "invalid_value", "input[1]", "is expected"),
        ({"model": NAME, "input": ["a" * 2000]}, "too_large", "input[0]", "at most 1,000"),
        ({"model": NAME, "input": "a", "dimensions": 4}, "invalid_value", "dimensions", "have 8"),
        ({"model": NAME, "input": "a", "encoding_format": "int8"}, "invalid_value",
         "encoding_format", "'base64'"),
        ({"model": NAME, "input": "a", "input_type": "poem"}, "invalid_value", "input_type",
         "search_query"),
        ({"model": NAME, "input": "a", "modality": "audio"}, "invalid_value", "modality", "image"),
        ({"model": NAME, "input": ["a", {"image": data_uri(b"no image at all")}]},
         "not_an_image", "input[1]", "input[1]: "),
        ({"model": NAME, "input": [{"image": data_uri(IMAGE[:-40])}]}, "truncated", "input[0]", ""),
        ({"model": NAME, "input": [{"image": "http://127.0.0.1/a.png"}]}, "not_an_image",
         "input[0]", "never loaded"),
        ({"model": NAME, "input": [{"image": "/etc/passwd"}]}, "not_an_image", "input[0]", ""),
        ({"model": NAME, "input": [{"image": "file:///etc/passwd"}]}, "not_an_image",
         "input[0]", "never loaded"),
        ({"model": NAME, "input": [{"image_url": {"url": "https://a.example/a.png"}}]},
         "not_an_image", "input[0]", "never loaded"),
        ({"model": NAME, "input": [{"image": data_uri(b"x" * 100_001)}]}, "too_large",
         "input[0]", "at most 100,000"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(
    space: Space, body: Any, code: str, param: str | None, says: str
) -> None:
    read = ReadOptions(max_bytes=100_000)
    with api(space, inputs=10, text_bytes=1000, read=read) as door:
        status, found, where, message = refusal(post(door, body))
    assert (status, found, where) == (400, code, param)
    assert says in message


def test_another_model_and_another_place_are_not_found(door: Door) -> None:
    with pytest.raises(openai.NotFoundError, match="'fake' is"):
        client(door).embeddings.create(model="text-embedding-3-small", input="a")
    with pytest.raises(openai.NotFoundError):
        client(door).models.retrieve("other/model")
    answer = httpx.get(f"{door.url}/files")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "http_error")
    assert httpx.get(f"{door.url}/embeddings").status_code == 405


def test_a_token_is_asked_for_where_there_is_one(space: Space) -> None:
    with api(space, token="the token") as door:
        assert client(door, "the token").models.list().data[0].id == NAME
        for wrong in ("another", "the token ünd"):
            sent = {"Authorization": f"Bearer {wrong}".encode()}
            for path in ("models", "embeddings", "nothing"):
                answer = httpx.get(f"{door.url}/{path}", headers=sent)
                assert refusal(answer)[:2] == (401, "invalid_api_key")
        assert "the token" not in answer.text


def test_a_page_of_somebody_else_gets_nothing(door: Door) -> None:
    """Neither by a name that points here, nor by a form that a browser sends unasked."""
    body = {"model": NAME, "input": "a"}
    assert refusal(post(door, body, Host="evil.example"))[:2] == (403, "wrong_host")
    assert post(door, body, Host="localhost:8080").status_code == 200
    answer = post(door, body, **{"Content-Type": "text/plain"})
    assert refusal(answer)[:2] == (415, "unsupported_media_type")


def test_large_bodies_are_refused_before_they_are_read(space: Space) -> None:
    body = {"model": NAME, "input": "a" * 5000}
    with api(space, body_bytes=4000) as door:
        assert refusal(post(door, body))[:2] == (413, "request_too_large")

        def chunks() -> Iterator[bytes]:
            for _ in range(100):
                yield b"a" * 1000

        answer = httpx.post(
            f"{door.url}/embeddings", content=chunks(), headers={"Content-Type": "application/json"}
        )
        assert refusal(answer)[:2] == (413, "request_too_large")
    with api(space, bytes_in_all=1000) as door:
        answer = post(door, body)
        assert refusal(answer)[:2] == (429, "busy")
        assert answer.headers["retry-after"] == "1"


def test_requests_of_the_same_time_share_their_batches(space: Space) -> None:
    gate, begun = threading.Event(), list[bytes]()

    def slow(contents: Sequence[bytes]) -> None:
        begun.extend(contents)
        assert gate.wait(60)

    model = FakeEmbedder(before=slow)
    with api(space, model) as door, ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(post, door, {"model": NAME, "input": f"{n}"}) for n in range(8)]
        wait_until(lambda: len(begun) + door.batcher.waiting == 8, "those that wait for the first")
        gate.set()
        for number, answer in enumerate(asked):
            (found,) = vector(answer.result())
            np.testing.assert_allclose(found, vector_of(str(number).encode()), atol=1e-6)
        assert door.batcher.batches <= 2
        assert model.embedded == 8


def test_one_who_asks_for_much_does_not_hold_another_up(space: Space) -> None:
    """Its texts wait for the other's one: each gets its turn in every batch."""
    gate, seen = threading.Event(), list[bytes]()

    def note(contents: Sequence[bytes]) -> None:
        assert gate.wait(60)
        seen.extend(contents)

    model = FakeEmbedder(before=note)
    with api(space, model) as door, ThreadPoolExecutor(2) as threads:
        many = {"model": NAME, "input": [f"many {n}" for n in range(200)]}
        first = threads.submit(post, door, many)
        wait_until(lambda: door.batcher.waiting == 1, "the first batch of many")
        other = threads.submit(post, door, {"model": NAME, "input": "other"})
        wait_until(lambda: door.batcher.waiting == 2, "the other one")
        gate.set()
        assert len(vector(first.result())) == 200
        assert len(vector(other.result())) == 1
    assert seen.index(b"other") < 2 * model.batch_size


def test_another_space_is_followed_and_nobody_is_cut_off(space: Space) -> None:
    begun, gate = threading.Event(), threading.Event()

    def slow(_: Sequence[bytes]) -> None:
        begun.set()
        assert gate.wait(60)

    other = replace(space, id=space.id + 1, name="other", model="fake:16", dimensions=16)
    with api(space, FakeEmbedder(before=slow)) as door, ThreadPoolExecutor(1) as threads:
        # More than a batch: the decoders of the one before are wanted again after the change.
        many = [{"image": data_uri(encode(sample(20, 20 + n), "PNG"))} for n in range(20)]
        asked = threads.submit(post, door, {"model": NAME, "input": many})
        assert begun.wait(60)
        door.current.become(other, FakeEmbedder(16))
        gate.set()
        assert [len(one) for one in vector(asked.result())] == [8] * 20
        assert len(vector(post(door, {"model": "other", "input": "a"}))[0]) == 16
        assert post(door, {"model": NAME, "input": "a"}).status_code == 404


def test_decoders_end_with_their_last_user(space: Space) -> None:
    current = Current(ReadOptions(decode_processes=1))
    current.become(space, FakeEmbedder())
    with current.using() as model:
        assert model is not None
        reader = model.reader(IMAGE_MODALITY)
        current.become(space, FakeEmbedder())
        assert reader.decode(IMAGE).content.size == (8, 8)
    with pytest.raises(ConfigurationError, match="closed"):
        reader.decode(IMAGE)
    current.close()


def test_a_broken_model_says_so_and_nothing_of_the_machine(space: Space) -> None:
    class Broken(FakeEmbedder):
        def embed(self, contents: list[bytes]) -> Any:
            return super().embed(contents)[:-1]  # one too few: nobody can tell whose

    with api(space, Broken()) as door:
        status, code, _, message = refusal(post(door, {"model": NAME, "input": TEXTS}))
        assert (status, code) == (500, "internal")
        assert "shape" not in message


def test_before_there_is_a_model_it_asks_to_wait(space: Space) -> None:
    with api(space) as door:
        door.current.close()
        status, code, _, _ = refusal(post(door, {"model": NAME, "input": "a"}))
        assert (status, code) == (503, "model_loading")
