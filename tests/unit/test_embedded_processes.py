"""Which of the proved processes is the postmaster."""

import os
from pathlib import Path

import pytest

from pipeline.postgres.embedded import processes as embedded_processes
from pipeline.postgres.embedded.processes import ServerProcess, find_postmaster, server_processes


def process(pid: int, parent: int, *, titled: bool) -> ServerProcess:
    return ServerProcess(pid, parent, started=0, titled=titled)


@pytest.mark.parametrize(
    ("found", "postmaster"),
    [
        ([], None),
        ([process(8, 1, titled=True)], None),
        ([process(9, 7, titled=True), process(7, 1, titled=False)], 7),
        ([process(6, 7, titled=False), process(7, 1, titled=False)], 7),
    ],
    ids=["none", "orphans", "a server", "a server and a child too young to have a title"],
)
def test_the_postmaster_is_the_parent_of_the_others(
    monkeypatch: pytest.MonkeyPatch, found: list[ServerProcess], postmaster: int | None
) -> None:
    monkeypatch.setattr(embedded_processes, "server_processes", lambda data: found)
    chosen = find_postmaster(Path("/data"))
    assert (chosen and chosen.pid) == postmaster


def test_a_process_with_another_start_time_is_another_process() -> None:
    assert embedded_processes.is_running(os.getpid())
    assert not process(os.getpid(), os.getppid(), titled=False).alive()


def test_nothing_serves_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert server_processes(tmp_path / "data") == []
