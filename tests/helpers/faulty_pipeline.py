"""The ``pipeline`` command as it is, with an embedder that needs no model, and faults on demand.

``FAULTS`` in the environment is a JSON object:

    kill_at   after_claim, after_load, after_embed, in_write, after_commit: SIGKILL to ourselves
    kill_on   SIGKILL to ourselves when this text is embedded, as the kernel does out of memory
    break_on  a device-side assert when this text is embedded
    fail_on   an error of the model when this text is embedded
    delay     seconds that every batch takes
    load      seconds that the model takes to load
"""

import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from pipeline import cli
from pipeline.errors import ModelError
from pipeline.ingest import embedding, preparing
from pipeline.queue import claims
from pipeline.spaces import items, probes
from tests.helpers.fakes import FAKE_FAMILY, FakeEmbedder

FAULTS: dict[str, Any] = json.loads(os.environ.get("FAULTS", "{}"))
ARMED: list[bool] = []


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_after(owner: Any, name: str) -> None:
    """Wraps a stage's function: the process is gone once it has returned something."""
    original: Callable[..., Any] = getattr(owner, name)

    def dying(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        if result:
            die()
        return result

    setattr(owner, name, dying)


def die_in_the_write() -> None:
    original = items.Writer.finish

    def dying(self: items.Writer, connection: Any, *arguments: Any) -> Any:
        with connection.transaction():
            result = original(self, connection, *arguments)
            die()
        return result

    items.Writer.finish = dying  # type: ignore[method-assign]


def before(contents: Any) -> None:
    """Faults strike where rows are embedded, not where the probes are, before any claim."""
    if not ARMED:
        return
    time.sleep(FAULTS.get("delay", 0.0))
    if FAULTS.get("kill_on", "").encode() in contents:
        die()
    if FAULTS.get("fail_on", "").encode() in contents:
        raise RuntimeError("the kernel says no")
    if FAULTS.get("break_on", "").encode() in contents:
        raise ModelError("CUDA error: device-side assert triggered; the process has to end")


def load_model(dimensions: int) -> FakeEmbedder:
    print("loading the model", flush=True)
    time.sleep(FAULTS.get("load", 0.0))
    return FakeEmbedder(dimensions, before)


def arm_after_the_probes() -> None:
    original = probes.verify

    def verify(*arguments: Any) -> Any:
        left = original(*arguments)
        ARMED.append(True)
        return left

    probes.verify = verify


def main() -> None:
    FAKE_FAMILY.make = load_model
    arm_after_the_probes()
    match FAULTS.get("kill_at"):
        case "after_claim":
            die_after(claims, "claim")
        case "after_load":
            die_after(preparing.Preparer, "prepare")
        case "after_embed":
            die_after(embedding, "embed_isolating")
        case "in_write":
            die_in_the_write()
        case "after_commit":
            die_after(items.Writer, "finish")
    cli.main()


if __name__ == "__main__":
    main()
