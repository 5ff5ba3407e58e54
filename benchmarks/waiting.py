"""A model whose threads spin while they wait, against one whose threads sleep:
`python -m benchmarks.waiting`.

ViT-B/32 with random weights, texts one by one as `pipeline serve` has them, and images in batches,
alone and beside processes that are busy, as PostgreSQL's are while they search.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.harness import say

SPIN, SLEEP = "spin", "sleep"
# What a command sets; without it a default of OpenMP's own holds.
POLICIES = {SPIN: {}, SLEEP: {"OMP_WAIT_POLICY": "passive"}}
MEASURED = """
import json, time
import torch, open_clip
model = open_clip.create_model("ViT-B-32").eval()
images, text = torch.randn(16, 3, 224, 224), torch.randint(1, 49407, (1, 77))

def timed(call, times):
    call()
    began, used = time.perf_counter(), time.process_time()
    for _ in range(times):
        call()
    return (time.perf_counter() - began) / times, (time.process_time() - used) / times

with torch.inference_mode():
    text_s, text_cpu_s = timed(lambda: model.encode_text(text), 40)
    batch_s, batch_cpu_s = timed(lambda: model.encode_image(images), 5)
print(json.dumps([text_s * 1e3, text_cpu_s * 1e3, 16 / batch_s]))
"""


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Processes that use a processor each."""
    started = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)
    ]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def run(policy: str) -> list[float]:
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEASURED],
        env=environment | POLICIES[policy],
        check=True,
        capture_output=True,
        text=True,
    )
    found: list[float] = json.loads(done.stdout)
    return found


def measure(beside: int, rounds: int = 3) -> dict[str, Any]:
    """Medians of rounds in turn: a text's milliseconds and those of the processor, images/s."""
    found: dict[str, list[list[float]]] = {policy: [] for policy in POLICIES}
    with busy(beside):
        for _ in range(rounds):
            for policy in POLICIES:
                found[policy].append(run(policy))
    medians = {
        p: [statistics.median(of) for of in zip(*rows, strict=True)] for p, rows in found.items()
    }
    return {
        "busy_processes": beside,
        **{
            name: {policy: round(of[n], 1) for policy, of in medians.items()}
            for n, name in enumerate(("text_ms", "text_processor_ms", "images_per_second"))
        },
        "text_ratio": round(medians[SPIN][0] / medians[SLEEP][0], 2),
        "images_ratio": round(medians[SLEEP][2] / medians[SPIN][2], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--beside", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    for beside in given.beside:
        say(f"beside {beside} busy processes ...")
        print(json.dumps(measure(beside, given.rounds)), flush=True)


if __name__ == "__main__":
    main()
