"""Freed memory stays with the process, whichever thread frees it."""

import ctypes
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from pipeline import cli

# How often a thread that takes and frees three times 16 MB has each page faulted in.
_SCRIPT = """
import ctypes, resource, threading
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: a huge page would be one fault
from pipeline.cli.allocator import keep_freed_memory
{keep}
def use():
    for _ in range(40):
        [bytearray(2**24) for _ in range(3)]
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = faults()
thread = threading.Thread(target=use)
thread.start()
thread.join()
print((faults() - before) * resource.getpagesize() / 2**24 / 3)
"""


def times_faulted_in(keep: str) -> float:
    command = [sys.executable, "-c", _SCRIPT.format(keep=keep)]
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("GLIBC_TUNABLES", "MALLOC_"))}
    done = subprocess.run(command, env=plain, capture_output=True, check=True, text=True)
    return float(done.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc alone has it")
def test_what_is_freed_is_not_faulted_in_again() -> None:
    assert times_faulted_in("keep_freed_memory()") == pytest.approx(1, abs=0.3)
    assert times_faulted_in("") > 5  # else this test shows nothing


def test_every_command_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(cli, "keep_freed_memory", lambda: asked.append(True))
    assert CliRunner().invoke(cli.app, ["--version"]).exit_code == 0
    assert asked == [True]
