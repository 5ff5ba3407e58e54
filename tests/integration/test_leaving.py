"""The end of a command that asked an object store: Python is not taken down under its client."""

import subprocess
import sys

import pytest

PROGRAM = """
import atexit, os, sys
{client}
class Watch:
    def __del__(self, write=os.write):
        write(1, b"taken down")
watch = Watch()
atexit.register(print, "tidied")
sys.argv = ["pipeline", *{arguments!r}]
from pipeline.cli import main
main()
"""


def run(client: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(client=client, arguments=arguments)
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["sync", "--bogus"], 2)])
def test_a_command_ends_before_the_threads_of_a_client_see_it(
    arguments: list[str], code: int
) -> None:
    done = run("import obstore", *arguments)
    assert done.returncode == code
    assert done.stdout.endswith("tidied\n")  # what else was to be done at the end was done
    assert "taken down" not in done.stdout


def test_any_other_command_ends_as_python_does() -> None:
    done = run("", "--version")
    assert done.returncode == 0
    assert "taken down" in done.stdout


def test_a_thread_that_is_at_work_is_waited_for() -> None:
    done = run(
        "import obstore, threading\n"
        "threading.Timer(0.5, lambda: os.write(1, b'worked ')).start()", "--version"
    )  # fmt: skip
    assert done.returncode == 0
    assert "worked" in done.stdout
