"""``pipeline`` in processes of its own, to be killed, stopped and waited for."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.helpers.forks import start

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0  # a guard against hanging, not a promise

# Quick, so that the tests are; what a test is about it sets itself.
SETTINGS = {
    "lease_seconds": 2.0,
    "sweep_seconds": 0.2,
    "poll_seconds": 0.2,
    "backoff_seconds": 0.05,
    "backoff_max_seconds": 0.2,
    "claim_size": 32,
    "batch_size": 16,
    "load_workers": 2,
}


def wait_until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> float:
    """Waits for ``condition``; returns the seconds it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"waited {seconds:.0f} s in vain for {what}"
        time.sleep(0.02)
    return time.monotonic() - began


class Pipeline:
    """A running ``pipeline`` command (``faulty_pipeline.py``); see the fixture ``pipeline``."""

    def __init__(
        self,
        folder: Path,
        url: str,
        *arguments: str,
        faults: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.log = folder / f"{time.monotonic_ns()}.log"
        self.output = self.log.with_suffix(".out")
        given = SETTINGS | settings
        environment = {
            "DATABASE_URL": url,
            "PIPELINE_HOME": str(folder / "home"),
            "FAULTS": json.dumps(faults or {}),
            **{f"PIPELINE_{name.upper()}": str(value) for name, value in given.items()},
        }
        self.process = start(
            "tests.helpers.faulty_pipeline",
            arguments,
            environment,
            cwd=ROOT,
            stdout=self.output,
            stderr=self.log,
        )

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = PATIENCE) -> int:
        """The exit code; negative for a signal."""
        return self.process.wait(seconds)

    def is_running(self) -> bool:
        return self.process.poll() is None

    def lines(self) -> list[str]:
        """What it wrote to stderr."""
        return self.log.read_text().splitlines()

    def close(self) -> None:
        if self.is_running():
            self.process.kill()  # also ends one that is stopped
            self.process.wait()
