"""The embedded server's data for a newer PostgreSQL: dumped, restored, checked and swapped."""

import contextlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import EmbeddedServerError
from pipeline.postgres.dumps.clusters import Counted, Programs, Server, compare, copy_cluster
from pipeline.postgres.dumps.programs import Program
from pipeline.postgres.embedded.cluster import data_version
from pipeline.postgres.embedded.config import CONFIG_FILE, SUPERUSER
from pipeline.postgres.embedded.home import Home, default_home
from pipeline.postgres.embedded.locks import command_lock
from pipeline.postgres.embedded.server import EmbeddedServer
from pipeline.postgres.embedded.stopping import shut_down
from pipeline.postgres.embedded.upgrading import NewHome, OldHome, Upgrade, old_programs

Progress = Callable[[str], None]
# Looks at two databases by their URLs, the old one and the new one; raises where it is not content.
Check = Callable[[str, str], None]

# Whoever changed these in the old cluster meant the new one, too.
_CONFIGURATION = (CONFIG_FILE, "pg_hba.conf", "pg_ident.conf", "postgresql.auto.conf")


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What was done.

    Attributes:
        before: the major version of PostgreSQL that had written the data.
        after: that of the server now.
        kept: where the old data is, until it is confirmed; None: there was nothing to do.
    """

    before: str
    after: str
    counted: Counted | None
    kept: Path | None


class _Private(EmbeddedServer):
    """A server for the upgrade alone, in a folder that is served otherwise or not at all."""

    def __init__(self, home: Home) -> None:
        super().__init__(home.path)
        self._home = home

    def _settle(self, say: Progress) -> None:
        """Nothing was cut off: we are at it."""

    def _create_database(self) -> None:
        """Nothing is added to the old cluster, and what the new one needs comes with the copy."""


def upgrade(
    folder: Path | None, check: Check, say: Progress, *, programs: Path | None = None
) -> Upgraded:
    """Bring the data of the embedded server to the installed PostgreSQL.

    The server is stopped for it. Until the last moment, which is two renames, the data is the old
    one; who is killed leaves one cluster, the old or the new, that the next start finds.

    Args:
        folder: the home; None: the default one.
        check: asked before the new cluster takes the old one's place.
        programs: the folder of the programs that wrote the data.

    Raises:
        EmbeddedServerError: there is no data, or nothing that reads it; or an older upgrade is not
            confirmed.
        DatabaseError: it cannot be copied, or the copy is not what it was. The old data is in use.
    """
    home = Home(folder or default_home())
    if not home.exists() or not home.data.exists():
        raise EmbeddedServerError(f"there is no data in {home.path} yet: pipeline db start")
    account, work = home.prepare(say), Upgrade(home)
    with command_lock(home, say):
        work.settle(say)
        before = data_version(home) or ""
        if before == home.major:
            return Upgraded(before, before, None, None)
        _refuse(home, work, before)
        old_bin = old_programs(home, before, programs)
        shut_down(home, home.data, say)
        try:
            work.begin(account)
            counted = _copy(work, old_bin, check, say)
            say("putting the new data in the old one's place")
            kept = work.finish(before)
        except BaseException:
            with contextlib.suppress(EmbeddedServerError):
                work.settle(lambda _: None)
            raise
    return Upgraded(before, home.major, counted, kept)


def confirm(folder: Path | None, say: Progress) -> list[Path]:
    """Remove the data that upgrades have kept; which.

    Raises:
        EmbeddedServerError: there is no data of the installed PostgreSQL, which is to stay.
    """
    home = Home(folder or default_home())
    if not home.exists():
        return []
    work = Upgrade(home)
    with command_lock(home, say):
        work.settle(say)
        found = work.all_kept()
        if found and data_version(home) is None:
            raise EmbeddedServerError(f"{home.data} is no data folder, so {found[-1]} is kept")
        for kept in found:
            shutil.rmtree(kept)
    return found


def _refuse(home: Home, work: Upgrade, before: str) -> None:
    if not before.isdecimal() or int(before) > int(home.major):
        raise EmbeddedServerError(
            f"{home.data} is of PostgreSQL {before or 'nobody'}, and the installed one is "
            f"{home.major}, which is not newer"
        )
    if kept := work.all_kept():
        raise EmbeddedServerError(
            f"an upgrade before this one kept {kept[0]}: `pipeline db upgrade --confirm` removes it"
        )


def _copy(work: Upgrade, old_bin: Path, check: Check, say: Progress) -> Counted:
    """Start both, copy, compare, check and stop both."""
    old, new = _Private(OldHome(work, old_bin)), _Private(NewHome(work.new))
    new.start(say)
    new.stop(say)
    _take_over(work.home.data, new.status().data)
    new.start(say)  # so it is known now that the new PostgreSQL takes the old settings
    old.start(say)
    servers = Server(old.url, SUPERUSER), Server(new.url, SUPERUSER)
    major = int(new.status().version or 0)
    theirs = old_bin / "pg_dump"
    pg_dump = [Program(new.binary("pg_dump"), major), *([Program(theirs, 0)] * theirs.is_file())]
    others = (Program(new.binary(name), major) for name in ("pg_dumpall", "pg_restore", "psql"))
    scratch = new.home.parent / "dumps"
    scratch.mkdir(mode=0o700)
    copy_cluster(*servers, Programs(pg_dump, *others), scratch, say)
    say("counting rows")
    counted = compare(*servers)
    check(old.url(), new.url())
    old.stop(say)
    new.stop(say)
    return counted


def _take_over(old: Path, new: Path) -> None:
    """Give the new cluster what was configured in the old one."""
    for name in _CONFIGURATION:
        source, target = old / name, new / name
        if source.is_file() and not source.is_symlink():
            owner = target.stat()
            target.write_bytes(source.read_bytes())
            if os.geteuid() == 0:
                os.chown(target, owner.st_uid, owner.st_gid)
