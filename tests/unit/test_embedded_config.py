"""What the embedded PostgreSQL is told about the machine it runs on."""

import os
import stat
from pathlib import Path

import pytest

from pipeline.postgres.embedded import config as embedded_config
from pipeline.postgres.embedded.account import Account
from pipeline.postgres.embedded.config import memory_bytes, start_options, write_config
from pipeline.postgres.embedded.home import Home

NOBODY = Account(os.geteuid(), os.getegid(), 'an "odd" name')


def written(folder: Path) -> dict[str, str]:
    (folder / "postgresql.conf").write_text("# initdb's\n")
    (folder / "pg_hba.conf").write_text("local all all trust\n")
    write_config(folder, NOBODY)
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("gigabytes", "sizes"),
    [
        (0.5, ["shared_buffers = 32MB", "maintenance_work_mem = 64MB"]),
        (2, ["shared_buffers = 128MB", "maintenance_work_mem = 128MB"]),
        (64, ["shared_buffers = 256MB", "maintenance_work_mem = 512MB"]),
    ],
)
def test_memory_settings_follow_the_machines_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gigabytes: float, sizes: list[str]
) -> None:
    monkeypatch.setattr(embedded_config, "memory_bytes", lambda: int(gigabytes * 2**30))
    config = written(tmp_path)["pipeline.conf"]
    assert [size for size in sizes if size in config] == sizes


def test_memory_is_what_the_machine_has_or_less() -> None:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < memory_bytes() <= machine


def test_only_the_owner_and_root_are_let_in(tmp_path: Path) -> None:
    files = written(tmp_path)
    assert files["pg_hba.conf"] == "local all all peer map=owner\n"
    assert files["pg_ident.conf"] == 'owner "root" all\nowner "an ""odd"" name" all\n'
    assert files["postgresql.conf"] == "# initdb's\n\ninclude_if_exists = 'pipeline.conf'\n"


@pytest.mark.parametrize(
    ("roomy", "expected"), [(True, []), (False, ["-c", "dynamic_shared_memory_type=sysv"])]
)
def test_a_small_dev_shm_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, roomy: bool, expected: list[str]
) -> None:
    monkeypatch.setattr(embedded_config, "_roomy_shared_memory", lambda: roomy)
    home = Home(tmp_path / 'a "b"')
    quoted = str(home.socket).replace('"', '""')
    options = start_options(home)
    assert options[:2] == ["-c", "port=5432"]
    assert options[2:] == ["-c", f'unix_socket_directories="{quoted}"', *expected]
