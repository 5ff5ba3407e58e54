"""An S3 server in this process (moto's) that counts what it is asked and fails when it is told."""

import importlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

REGION = "us-east-1"
BUCKET = "photos"


@dataclass
class Store:
    """A running server, and a client of it.

    Attributes:
        url: its endpoint.
        requests: by kind: LIST for one page of a listing, else the method.
        fails: says of a request, by its kind and how many of that kind there were, whether it is
            answered by a 503.
    """

    url: str
    client: Any
    requests: Counter[str] = field(default_factory=Counter)
    fails: Callable[[str, int], bool] = lambda _, __: False

    def put(self, key: str, body: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=body)

    def delete(self, *keys: str) -> None:
        for key in keys:
            self.client.delete_object(Bucket=BUCKET, Key=key)

    def rename(self, old: str, new: str) -> None:
        """As S3 has it: a copy, and the other goes."""
        source = {"Bucket": BUCKET, "Key": old}
        self.client.copy_object(Bucket=BUCKET, Key=new, CopySource=source)
        self.delete(old)

    def asked(self, environ: dict[str, Any]) -> bool:
        """Count a request; whether it is to be answered."""
        kind = environ["REQUEST_METHOD"]
        if kind == "GET" and "list-type=2" in environ.get("QUERY_STRING", ""):
            kind = "LIST"
        self.requests[kind] += 1
        return not self.fails(kind, self.requests[kind])


@contextmanager
def running_store() -> Iterator[Store]:
    """A store with the empty bucket :data:`BUCKET`."""
    server = pytest.importorskip("moto.server", reason="the dev dependency moto[server]")
    boto3 = importlib.import_module("boto3")
    running = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    store = Store(f"http://{host}:{port}", None)
    backend = running._server.app

    def application(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if store.asked(environ):
            answer: Iterable[bytes] = backend(environ, start)
            return answer
        start("503 Service Unavailable", [("Content-Type", "application/xml")])
        return [b"<Error><Code>ServiceUnavailable</Code></Error>"]

    running._server.app = application
    credentials = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
    store.client = boto3.client("s3", endpoint_url=store.url, region_name=REGION, **credentials)
    store.client.create_bucket(Bucket=BUCKET)
    store.requests.clear()
    try:
        yield store
    finally:
        running.stop()
        backends = importlib.import_module("moto.backends")
        backends.get_backend("s3").reset()


ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The endpoint and credentials as AWS's own tools are told them."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with running_store() as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        yield running
