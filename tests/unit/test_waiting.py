"""The threads of a model do not spin beside other processes, unless somebody says so."""

import os
import subprocess
import sys

import pytest

SEEN = """
import os, sys
from pipeline.cli import app
try:
    app(["--version"])
except SystemExit:
    pass
assert "torch" not in sys.modules  # which would have read it already
print(os.environ["OMP_WAIT_POLICY"])
"""


@pytest.mark.parametrize(("said", "holds"), [(None, "passive"), ("active", "active")])
def test_a_command_has_them_sleep_where_nobody_said_otherwise(said: str | None, holds: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", SEEN],
        env=environment if said is None else {**environment, "OMP_WAIT_POLICY": said},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == holds
