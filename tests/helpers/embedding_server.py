"""A server of embeddings in this process, of infinity's dialect, which can be told to misbehave."""

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.helpers.fakes import vector_of

DIMENSIONS = 8
KEY = "a-key-nobody-may-see"


@dataclass
class Served:
    """What it was asked, and what it does next.

    Attributes:
        asked: the bodies of all requests.
        faults: each answers one request in its turn; afterwards all goes well. It gets the
            handler and the good answer, and returns an answer, or None where it has answered.
        refuses: whether an input gets a 422.
    """

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    faults: list[Callable[["Handler", dict[str, Any]], Any]] = field(default_factory=list)
    refuses: Callable[[str], bool] = lambda text: False
    dimensions: int = DIMENSIONS
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def spec(self) -> str:
        return f"remote:infinity,{self.url}#a-model"

    def fault(self) -> Callable[["Handler", dict[str, Any]], Any] | None:
        with self.lock:
            return self.faults.pop(0) if self.faults else None


def content_of(sent: str) -> bytes:
    """What an input says: a text, or the file in a data URI."""
    if sent.startswith("data:"):
        return base64.b64decode(sent.partition(",")[2])
    return sent.encode()


class Handler(BaseHTTPRequestHandler):
    served: Served

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.served.asked.append(body)
        self.served.headers.append(dict(self.headers))
        if any(self.served.refuses(one) for one in body["input"]):
            self.say(422, {"error": "that cannot be read"})
            return
        good = {
            "data": [
                {
                    "index": n,
                    "embedding": vector_of(content_of(one), self.served.dimensions).tolist(),
                }
                for n, one in enumerate(body["input"])
            ],
            "usage": {"total_tokens": 10 * len(body["input"])},
        }
        fault = self.served.fault()
        answer = good if fault is None else fault(self, good)
        if answer is not None:
            self.say(200, answer)

    def say(self, status: int, answer: Any, **headers: str) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


# Faults


def status(code: int, **headers: str) -> Callable[[Handler, dict[str, Any]], None]:
    return lambda handler, good: handler.say(code, {"error": f"key {KEY} is tired"}, **headers)


def one_too_few(_: Handler, good: dict[str, Any]) -> dict[str, Any]:
    return good | {"data": good["data"][:-1]}


def another_order(_: Handler, good: dict[str, Any]) -> dict[str, Any]:
    return good | {"data": good["data"][::-1]}


def twice_the_first(_: Handler, good: dict[str, Any]) -> dict[str, Any]:
    return good | {"data": [{**one, "index": 0} for one in good["data"]]}


def no_json(handler: Handler, _: dict[str, Any]) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "6")
    handler.end_headers()
    handler.wfile.write(b"<html>")


def reset_in_mid_body(handler: Handler, good: dict[str, Any]) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(json.dumps(good).encode()[:100])
    handler.wfile.flush()
    handler.connection.close()


def drip(handler: Handler, good: dict[str, Any]) -> None:
    data = json.dumps(good).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    try:
        for byte in data:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            time.sleep(0.05)
    except OSError:  # whoever asked had enough
        return


def not_a_number(_: Handler, good: dict[str, Any]) -> dict[str, Any]:
    return good | {
        "data": [{**one, "embedding": [float("nan")] * DIMENSIONS} for one in good["data"]]
    }


@contextmanager
def embedding_server() -> Iterator[Served]:
    served = Served()
    handler = type("Bound", (Handler,), {"served": served})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
