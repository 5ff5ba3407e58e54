"""Asking a server for vectors, until it gives them: a fault of the way is waited out here.

So a server that is away, overloaded or gives nonsense costs no row an attempt. What is wrong with
a row, and what no waiting mends, are errors of their own.
"""

import json
import logging
import random
import threading
import time
from typing import Any

from pipeline.embedders.remote.dialects.base import Answer, Question, UnreadableAnswer
from pipeline.embedders.remote.spec import RemoteSpec
from pipeline.embedders.remote.waiting import asked_seconds
from pipeline.errors import MissingExtra, ModelUnavailable, PermanentRowError, RemoteModelError

try:
    import httpx
except ImportError as exc:
    raise MissingExtra("a remote model", "remote") from exc

logger = logging.getLogger(__name__)

_AGAIN = frozenset({408, 409, 425, 429})
_OF_THE_INPUT = frozenset({400, 413, 422})
_CONNECT_SECONDS = 10.0
# For a whole answer: a server that drips is as good as one that is away.
_ANSWER_SECONDS = 120.0
_ANSWER_BYTES = 256 * 2**20
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0


class Client:
    """One server, for many threads at once.

    Args:
        key: that says who asks; empty: nothing does.
        patience: seconds that one question may be repeated.
        budget: tokens that may be used in all; 0: any number.

    Attributes:
        tokens: used so far, by the server's count or else by our estimate.
    """

    def __init__(self, spec: RemoteSpec, key: str, patience: float, budget: int = 0) -> None:
        self.spec = spec
        self.tokens = 0
        self._key = key
        self._patience = patience
        self._budget = budget
        self._lock = threading.Lock()
        self._not_before = 0.0
        self._http = httpx.Client(
            headers=dict(spec.dialect.headers(key)),
            timeout=httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
            follow_redirects=False,
        )

    def ask(self, question: Question, tokens: int) -> Answer:
        """The vectors of these inputs.

        Args:
            tokens: as estimated, for servers that do not count.

        Raises:
            PermanentRowError: ``refused``: the server refuses the inputs, or one of them.
            ModelUnavailable: it gave no answer for so long, or the budget is spent.
            RemoteModelError: it refuses the key or the model.
        """
        self._check_budget()
        request = self.spec.dialect.request(question)
        body = json.dumps(request.body).encode()
        began, pause = time.monotonic(), _FIRST_PAUSE
        while True:
            self._wait_for_turn()
            wanted: float | None = None
            try:
                response, data = self._post(request.path, body)
                if response.is_success:
                    answer = self._read(data, len(question.inputs))
                    with self._lock:
                        self.tokens += tokens if answer.tokens is None else answer.tokens
                    return answer
                self._refuse(response, data)
                wanted, problem = asked_seconds(response.headers), self._said(response, data)
            except httpx.HTTPError as exc:
                problem = f"{type(exc).__name__}: {exc}"
            except UnreadableAnswer as exc:
                problem = str(exc)
            # Not all at the same moment, once it is back.
            delay = max(wanted or 0.0, pause * random.uniform(0.5, 1.0))
            if time.monotonic() + delay - began > self._patience:
                raise ModelUnavailable(self._gave_up(problem, wanted))
            logger.info("The model's server is asked again.", extra={"after": problem})
            self._pause(delay)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def close(self) -> None:
        self._http.close()

    def _check_budget(self) -> None:
        if self._budget and self.tokens >= self._budget:
            raise ModelUnavailable(
                f"{self.tokens:,} tokens were used, and PIPELINE_REMOTE_BUDGET is "
                f"{self._budget:,}; what is left waits for the next run, or for a larger budget"
            )

    def _post(self, path: str, body: bytes) -> tuple[httpx.Response, bytes]:
        deadline, data = time.monotonic() + _ANSWER_SECONDS, bytearray()
        with self._http.stream(
            "POST",
            self.spec.url + path,
            content=body,
            headers={"Content-Type": "application/json"},
        ) as response:
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) > _ANSWER_BYTES:
                    raise UnreadableAnswer(f"an answer of more than {_ANSWER_BYTES:,} bytes")
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout(f"the answer took more than {_ANSWER_SECONDS:g} s")
        return response, bytes(data)

    def _read(self, data: bytes, count: int) -> Answer:
        try:
            loaded: Any = json.loads(data)
        except ValueError as exc:
            raise UnreadableAnswer(f"an answer that is no JSON: {exc}") from exc
        return self.spec.dialect.read(loaded, count)

    def _refuse(self, response: httpx.Response, data: bytes) -> None:
        """Raise what repeating would not mend."""
        status = response.status_code
        if status in _AGAIN or status >= 500:
            return
        said = self._said(response, data)
        if status in _OF_THE_INPUT:
            raise PermanentRowError("refused", f"the model's server refuses it: {said}")
        if status in (401, 403):
            raise RemoteModelError(
                f"the model's server refuses the key in PIPELINE_REMOTE_KEY: {said}"
            )
        raise RemoteModelError(
            f"the model's server does not answer for {self.spec.model!r} at {self.spec.url}: {said}"
        )

    def _said(self, response: httpx.Response, data: bytes) -> str:
        """The status and the beginning of the text, on one line, without the key."""
        text = " ".join(data[:2000].decode("utf-8", "replace").split())
        if self._key:
            text = text.replace(self._key, "***")
        return f"HTTP {response.status_code} {response.reason_phrase} {text[:200]}".strip()

    def _gave_up(self, problem: str, wanted: float | None) -> str:
        asked = f" (it asks for {wanted:.0f} s)" if wanted else ""
        return (
            f"the model's server at {self.spec.url} gives no vectors, and was asked for "
            f"{self._patience:g} s (PIPELINE_REMOTE_SECONDS){asked}: {problem}; rows that waited "
            "for it go back untouched"
        )

    def _wait_for_turn(self) -> None:
        while (left := self._not_before - time.monotonic()) > 0:
            time.sleep(left)

    def _pause(self, seconds: float) -> None:
        """For all who ask, since it is the same server."""
        with self._lock:
            self._not_before = max(self._not_before, time.monotonic() + seconds)
