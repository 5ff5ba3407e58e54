"""Completion, as the shells ask for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def completed(shell: str, line: str) -> str:
    """What the command gives for a line that ends where the cursor is."""
    words = line.split(" ")
    environment = {
        "bash": {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": line},
        "fish": {
            "_TYPER_COMPLETE_ARGS": line,
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
            "_TYPER_COMPLETE_WORD_TO_COMPLETE": words[-1],
        },
    }[shell]
    program = "import sys; sys.argv[0] = 'pipeline'; from pipeline.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment, "_PIPELINE_COMPLETE": f"complete_{shell}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_commands_options_and_values_are_completed(shell: str) -> None:
    assert "search" in completed(shell, "pipeline sea")
    assert "activate" in completed(shell, "pipeline space act")
    assert "--log-format" in completed(shell, "pipeline ingest --log-f")
    assert "calibrated" in completed(shell, "pipeline search --ranking cal")


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_by_the_script_that_is_shown(tmp_path: Path) -> None:
    command = tmp_path / "pipeline"
    command.write_text(
        f"#!{sys.executable}\nimport sys\nsys.argv[0] = 'pipeline'\n"
        "from pipeline.cli import main\nmain()\n"
    )
    command.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    program = """
eval "$(pipeline --show-completion)"
COMP_WORDS=(pipeline space act); COMP_CWORD=2; COMP_LINE="pipeline space act"
$(complete -p pipeline | sed 's/.*-F \\([^ ]*\\).*/\\1/') pipeline
echo "${COMPREPLY[@]}"
"""
    done = subprocess.run(
        ["bash", "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["activate"], done.stderr
