"""The user that the embedded server runs as; for root, who may not run it, one of its own."""

import os
import pwd
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import EmbeddedServerError
from pipeline.postgres.embedded.processes import as_user

SERVER_ACCOUNT = "pgvector-pipeline"


@dataclass(frozen=True)
class Account:
    """The user that the server runs as."""

    uid: int
    gid: int
    name: str

    def run(
        self, *command: str | Path, pass_fds: tuple[int, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            cwd="/",
            env=server_environment(),
            pass_fds=pass_fds,
            **self.options(),
        )

    def options(self) -> dict[str, Any]:
        return as_user(self.uid, self.gid)


def own_account(say: Callable[[str], None]) -> Account:
    command = ["useradd", "--system", "--user-group", "--no-create-home"]
    command += ["--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", SERVER_ACCOUNT]
    deadline = time.monotonic() + 10
    while True:
        try:
            found = pwd.getpwnam(SERVER_ACCOUNT)
        except KeyError:
            say(f"creating the system account {SERVER_ACCOUNT}, as which PostgreSQL will run")
        else:
            return Account(found.pw_uid, found.pw_gid, found.pw_name)
        try:
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            problem = result.stderr.strip()
            done = result.returncode in (0, 9)  # 9: another command created it meanwhile
        except OSError as exc:
            problem, done = f"useradd: {exc.strerror}", False
            deadline = 0.0
        if not done and time.monotonic() > deadline:  # useradd locks /etc/passwd: try again
            raise EmbeddedServerError(
                f"PostgreSQL refuses to run as root, and the system account {SERVER_ACCOUNT} for "
                f"it could not be created ({problem}); create it, or run the command as an "
                "ordinary user"
            )
        if not done:
            time.sleep(0.1)


def first_unreachable(account: Account, *folders: Path) -> str:
    """The outermost folder that ``account`` may not enter, or nothing. The kernel is asked."""
    script = 'for folder; do [ -x "$folder" ] || { printf %s "$folder"; exit 1; }; done'
    existing = [folder for folder in sorted(folders) if folder.exists()]
    try:
        checked = account.run("/bin/sh", "-c", script, "sh", *existing)
    except OSError as exc:  # a container that maps root alone, or keeps CAP_SETUID from it
        raise EmbeddedServerError(
            f"root may not become {account.name} here ({exc.strerror}), and PostgreSQL refuses to "
            "run as root; run the command as an ordinary user"
        ) from exc
    return checked.stdout or checked.stderr.strip()


def server_environment() -> dict[str, str]:
    """What initdb and the server may see: no PG* variable of the caller, and English messages."""
    kept = {name: os.environ[name] for name in ("PATH", "TZ") if name in os.environ}
    return {"PATH": os.defpath, **kept, "LC_ALL": "C.UTF-8"}


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user id {uid}"
