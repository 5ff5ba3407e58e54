"""Models behind a server: what they are called, what is sent, and what comes of every answer."""

import base64
import io
import json
import pickle
import time
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline import embedders
from pipeline.embedders.isolation import embed_isolating
from pipeline.embedders.remote import REMOTE, client
from pipeline.embedders.remote.dialects import DIALECTS
from pipeline.embedders.remote.dialects.base import Question, RemoteInput, UnreadableAnswer
from pipeline.embedders.remote.embedder import RemoteEmbedder
from pipeline.embedders.remote.encoders import Within
from pipeline.embedders.remote.opening import opened
from pipeline.embedders.remote.spec import parse
from pipeline.embedders.remote.tokens import estimate
from pipeline.embedders.remote.waiting import asked_seconds
from pipeline.errors import (
    ConfigurationError,
    ModelError,
    ModelUnavailable,
    PermanentRowError,
    RowError,
)
from pipeline.modalities import Input
from tests.helpers import embedding_server
from tests.helpers.embedding_server import KEY, Served
from tests.helpers.fakes import vector_of


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(client, "_FIRST_PAUSE", 0.01)
    monkeypatch.setenv("PIPELINE_REMOTE_KEY", KEY)
    with embedding_server.embedding_server() as served:
        yield served


@pytest.fixture
def remote(served: Served) -> RemoteEmbedder:
    embedder = opened(served.spec)
    served.asked.clear()
    return embedder


def texts_of(embedder: RemoteEmbedder, *texts: str) -> list[Input]:
    return list(embedder.encoders["text"].prepare(texts))


# what it is called


def test_a_spec_names_the_dialect_the_server_and_the_model() -> None:
    spec = parse("remote:infinity,http://127.0.0.1:7997/#org/clip;context=64;side=224;dimensions=8")
    assert (spec.dialect.name, spec.url, spec.model) == (
        "infinity", "http://127.0.0.1:7997", "org/clip"
    )  # fmt: skip
    assert (spec.context, spec.side, spec.dimensions) == (64, 224, 8)
    assert parse("remote:openai#text-embedding-3-small").url.startswith("https://")
    assert embedders.family_that_claims("remote:openai#a") is REMOTE
    assert embedders.family_that_claims("ViT-B-32/openai") is not REMOTE


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("remote:infinity,http://127.0.0.1:7997", "names the model after #"),
        ("remote:infinity#clip", "needs the address"),
        ("remote:infinity,ftp://host#clip", "needs the address"),
        ("remote:infinity,http://host:70000#clip", "needs the address"),
        ("remote:cohare#embed-v4.0", "'cohare' is no dialect"),
        ("remote:infinity,http://me:hunter2@host#clip", "PIPELINE_REMOTE_KEY"),
        ("remote:gemini,https://host/v1?key=hunter2#clip", "PIPELINE_REMOTE_KEY"),
        ("remote:openai#a;contest=77", "'contest=77' is no option"),
        ("remote:openai#a;context=7", "at least 8"),
        ("remote:openai#a;dimensions=0", "1 to 4000"),
    ],
)
def test_what_is_no_spec_is_refused_in_a_sentence(spec: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as raised:
        parse(spec)
    assert "hunter2" not in str(raised.value)


def test_a_server_that_moves_is_the_same_space(served: Served) -> None:
    here = opened(served.spec).description
    with embedding_server.embedding_server() as there:
        assert opened(there.spec).description.fingerprint() == here.fingerprint()
    assert here.fingerprint() != opened(served.spec + ";side=224").description.fingerprint()
    assert embedders.described(here.as_dict()) == here
    assert KEY not in json.dumps(here.as_dict())


def test_a_precision_is_the_servers_choice(served: Served) -> None:
    with pytest.raises(ConfigurationError, match="the server chooses"):
        REMOTE.open_new(served.spec, device="auto", precision="int8")


# what is sent


INPUTS = {
    "text": RemoteInput(text="a cat"),
    "image": RemoteInput(image=b"\x89PNG", media_type="image/png"),
}


@pytest.mark.parametrize("role", ["item", "query"])
@pytest.mark.parametrize(
    ("name", "modality"), [(name, m) for name in DIALECTS for m in DIALECTS[name].modalities]
)
def test_each_dialect_sends_what_it_is_given(name: str, modality: str, role: Any) -> None:
    dialect = DIALECTS[name]
    question = Question("a model/v1", [INPUTS[modality]], role, 256)
    request = dialect.request(question)
    said = json.dumps([request.path, request.body])
    assert request.path.startswith("/")
    assert "a cat" in said or base64.b64encode(b"\x89PNG").decode() in said
    assert "256" in said
    assert "a model/v1" in said or "a%20model%2Fv1" in said
    assert KEY in json.dumps(dict(dialect.headers(KEY)))
    assert dialect.headers("") == {}
    if modality == "text" and name in ("cohere", "voyage", "jina", "nova", "gemini"):
        other = dialect.request(
            Question("a model/v1", [INPUTS[modality]], "item" if role == "query" else "query", 256)
        )
        assert other.body != request.body


ANSWERS: dict[str, Any] = {
    "infinity": {"data": [{"index": 1, "embedding": [2]}, {"index": 0, "embedding": [1]}],
                 "usage": {"total_tokens": 7}},
    "openai": {"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [2]}],
               "usage": {"total_tokens": 7}},
    "cohere": {"embeddings": {"float": [[1], [2]]},
               "meta": {"billed_units": {"input_tokens": 4, "image_tokens": 3}}},
    "voyage": {"data": [{"index": 1, "embedding": [2]}, {"index": 0, "embedding": [1]}],
               "usage": {"total_tokens": 7}},
    "jina": {"data": [{"embedding": [1]}, {"embedding": [2]}], "usage": {"total_tokens": 7}},
    "gemini": {"embeddings": [{"values": [1]}, {"values": [2]}]},
}  # fmt: skip


@pytest.mark.parametrize("name", list(ANSWERS))
def test_each_dialect_reads_its_answers(name: str) -> None:
    read = DIALECTS[name].read(ANSWERS[name], 2)
    assert [list(vector) for vector in read.vectors] == [[1], [2]]
    assert read.tokens == (None if name == "gemini" else 7)
    for wrong in ({}, [], None, {"data": 3}, {"embeddings": {"float": [[1]]}}, {"data": [1, 2]}):
        with pytest.raises(UnreadableAnswer):
            DIALECTS[name].read(wrong, 2)
    with pytest.raises(UnreadableAnswer):
        DIALECTS[name].read(ANSWERS[name], 3)


def test_nova_answers_one_by_one() -> None:
    nova = DIALECTS["nova"]
    assert nova.items == 1
    assert nova.read({"embeddings": [{"embedding": [1]}]}, 1).vectors == [[1]]
    with pytest.raises(UnreadableAnswer):
        nova.read({"embeddings": []}, 1)


def test_images_go_without_metadata_and_no_larger_than_asked(
    remote: RemoteEmbedder, served: Served
) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (1500, 3000, 3), dtype=np.uint8)
    photo, small = Image.fromarray(noise), Image.new("RGB", (20, 10), "red")
    exif = photo.getexif()
    exif[0x9286] = "where I live"
    photo.info["exif"] = exif.tobytes()
    images = remote.encoders["image"]
    images.embed(images.prepare([photo, small]))
    sent = [base64.b64decode(one.partition(",")[2]) for one in served.asked[-1]["input"]]
    large, little = (Image.open(io.BytesIO(data)) for data in sent)
    assert (large.size, little.size) == ((1024, 512), (20, 10))
    assert not large.getexif()
    assert b"where I live" not in sent[0]
    assert little.format == "PNG"
    assert little.convert("RGB").tobytes() == small.tobytes()
    fit = pickle.loads(pickle.dumps(Within(1024)))
    assert fit(fit(photo)).tobytes() == fit(photo).tobytes()


def test_requests_stay_within_the_dialects_limits(remote: RemoteEmbedder, served: Served) -> None:
    texts = remote.encoders["text"]
    contents = [f"text number {n}" for n in range(100)]
    vectors = texts.embed(texts.prepare(contents))
    assert sorted(len(body["input"]) for body in served.asked) == [4, 32, 32, 32]
    for text, vector in zip(contents, vectors, strict=True):
        np.testing.assert_allclose(vector, vector_of(text.encode()), atol=1e-6)
    served.asked.clear()
    noise = np.random.default_rng(1).integers(0, 255, (1024, 1024, 3), dtype=np.uint8)
    images = remote.encoders["image"]
    different = [Image.fromarray(np.roll(noise, n)) for n in range(8)]
    images.embed(images.prepare(different))
    assert len(served.asked) > 1
    most = DIALECTS["infinity"].body_bytes
    assert all(len(json.dumps(body)) <= most + 2**20 for body in served.asked)


def test_long_texts_are_cut_by_an_estimate_of_their_tokens(remote: RemoteEmbedder) -> None:
    split = remote.encoders["text"].split  # type: ignore[attr-defined]
    assert len(split("a photo of a cat", 8, 10)) == 1
    text = " ".join(f"word{n}" for n in range(300))
    windows = split(text, 8, 100)
    assert len(windows) > 5
    assert all(estimate(window.text) <= 77 for window in windows)
    assert windows[-1].text.endswith("word299")
    assert estimate("北京") > 4
    assert estimate("") == 2


# what comes of every answer


FAULTS = {
    "busy": embedding_server.status(429, Retry_After="0"),
    "reset": embedding_server.status(429, x_ratelimit_reset_tokens="10ms"),
    "too early": embedding_server.status(425),
    "away": embedding_server.status(503),
    "one too few": embedding_server.one_too_few,
    "twice": embedding_server.twice_the_first,
    "no JSON": embedding_server.no_json,
    "reset in mid-body": embedding_server.reset_in_mid_body,
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_fault_of_the_way_is_waited_out(
    remote: RemoteEmbedder, served: Served, fault: str
) -> None:
    served.faults += [FAULTS[fault], FAULTS[fault]]
    vectors = remote.encoders["text"].embed(texts_of(remote, "one", "two"))
    np.testing.assert_allclose(vectors[1], vector_of(b"two"), atol=1e-6)
    assert len(served.asked) == 3


def test_an_answer_in_another_order_is_put_right(remote: RemoteEmbedder, served: Served) -> None:
    served.faults.append(embedding_server.another_order)
    vectors = remote.encoders["text"].embed(texts_of(remote, "one", "two", "three"))
    np.testing.assert_allclose(vectors[0], vector_of(b"one"), atol=1e-6)
    assert len(served.asked) == 1


def test_a_server_that_drips_is_as_good_as_away(
    remote: RemoteEmbedder, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_ANSWER_SECONDS", 1.0)
    served.faults.append(embedding_server.drip)
    vectors = remote.encoders["text"].embed(texts_of(remote, "one"))
    np.testing.assert_allclose(vectors[0], vector_of(b"one"), atol=1e-6)
    assert len(served.asked) == 2


def test_vectors_that_are_none_cost_their_rows_alone(
    remote: RemoteEmbedder, served: Served
) -> None:
    served.faults.append(embedding_server.not_a_number)
    results = embed_isolating(remote.encoders["text"].embed, texts_of(remote, "one"))
    assert isinstance(results[0], RowError)
    assert results[0].code == "bad_vector"


def test_what_is_refused_is_found_by_halves_and_no_other_is_paid_twice(
    remote: RemoteEmbedder, served: Served
) -> None:
    served.refuses = lambda text: text == "bad"
    texts = ["bad" if n == 40 else f"good {n}" for n in range(100)]
    inputs = texts_of(remote, *texts)
    results = embed_isolating(remote.encoders["text"].embed, inputs)
    for text, result in zip(texts, results, strict=True):
        if text == "bad":
            assert isinstance(result, PermanentRowError)
            assert result.code == "refused"
            assert "that cannot be read" in result.message
            continue
        np.testing.assert_allclose(result, vector_of(text.encode()), atol=1e-6)
    paid = [one for body in served.asked if "bad" not in body["input"] for one in body["input"]]
    assert len(paid) == len(set(paid)) == 99


@pytest.mark.parametrize("code", [401, 403, 404, 402, 301])
def test_what_no_waiting_mends_ends_it(remote: RemoteEmbedder, served: Served, code: int) -> None:
    served.faults.append(embedding_server.status(code))
    with pytest.raises(ModelError, match=f"HTTP {code}") as raised:
        remote.encoders["text"].embed(texts_of(remote, "one"))
    assert not isinstance(raised.value, ModelUnavailable)
    assert KEY not in str(raised.value)
    assert len(served.asked) == 1


def test_other_dimensions_end_it(remote: RemoteEmbedder, served: Served) -> None:
    served.dimensions = 4
    with pytest.raises(ModelError, match="gives 4 dimensions, and gave 8 before"):
        remote.encoders["text"].embed(texts_of(remote, "one"))


def test_patience_ends_with_what_was_wrong(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_REMOTE_SECONDS", "0.2")
    embedder = opened(served.spec)
    served.faults += [embedding_server.status(503)] * 100
    with pytest.raises(ModelUnavailable, match="HTTP 503") as raised:
        embedder.encoders["text"].embed(texts_of(embedder, "one"))
    assert KEY not in str(raised.value)
    served.faults[:] = [embedding_server.status(429, Retry_After="3600")]
    with pytest.raises(ModelUnavailable, match="asks for 3600 s"):
        embedder.encoders["text"].embed(texts_of(embedder, "one"))


def test_a_budget_ends_it_before_more_is_sent(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_REMOTE_BUDGET", "30")
    embedder = opened(served.spec)
    embedder.encoders["text"].embed(texts_of(embedder, "one", "two"))
    assert embedder.tokens == 30
    asked = len(served.asked)
    with pytest.raises(ModelUnavailable, match="30 tokens were used"):
        embedder.encoders["text"].embed(texts_of(embedder, "three"))
    assert len(served.asked) == asked


def test_the_key_goes_with_every_request_and_another_address_serves(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(served.spec)
    assert served.headers[-1]["Authorization"] == f"Bearer {KEY}"
    monkeypatch.setenv("PIPELINE_REMOTE_URL", served.url + "/v1/")
    assert opened("remote:infinity,http://127.0.0.1:1#a-model").description.dimensions == 8


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7),
        ({"retry-after": "0.5", "x-ratelimit-reset-tokens": "9s"}, 0.5),
        ({"x-ratelimit-reset-requests": "20ms", "x-ratelimit-reset-tokens": "6m0s"}, 360),
        ({"X-RateLimit-Reset": "1h2m3.5s"}, 3723.5),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": formatdate(0)}, 0),
    ],
)
def test_how_long_a_server_asks_to_be_left_alone(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert asked_seconds(headers) == seconds


def test_a_date_and_a_time_of_the_clock_are_seconds_from_now() -> None:
    for said in (formatdate(time.time() + 100, usegmt=True), str(int(time.time()) + 100)):
        found = asked_seconds({"Retry-After": said})
        assert found is not None
        assert 90 < found <= 100
