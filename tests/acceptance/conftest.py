"""The command as people run it: a subprocess, its exit code, stdout and stderr."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(empty_url: str, tmp_path: Path) -> Run:
    """``run("status", "--json")`` on an empty database of its own, in an empty folder."""

    def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        env = {
            **os.environ,
            "DATABASE_URL": empty_url,
            "PIPELINE_HOME": str(tmp_path / "home"),
            "COLUMNS": "160",
            **environment,
        }
        return subprocess.run(
            [sys.executable, "-m", "pipeline.cli", *arguments],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
            stdin=subprocess.DEVNULL,
        )

    return run
