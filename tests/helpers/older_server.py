"""An embedded server's folder as an older release left it: of an older PostgreSQL."""

from pathlib import Path

from pipeline.postgres.embedded.account import Account
from pipeline.postgres.embedded.config import write_config
from pipeline.postgres.embedded.home import Home
from pipeline.postgres.embedded.server import EmbeddedServer

_DEBIANS = Path("/usr/lib/postgresql")


def older_programs() -> Path | None:
    """Those of an older PostgreSQL, such as Debian's package ``postgresql`` has; or nothing."""
    found = [p.parent for p in _DEBIANS.glob("*/bin/postgres") if int(p.parts[-3]) < 18]
    return max(found, key=lambda programs: int(programs.parts[-2]), default=None)


class _OlderHome(Home):
    def __init__(self, path: Path, programs: Path) -> None:
        super().__init__(path)
        self._programs = programs

    @property
    def major(self) -> str:
        return (self.data / "PG_VERSION").read_text().strip()

    def programs(self, account: Account) -> Path:
        return self._programs


class OlderServer(EmbeddedServer):
    """The same folder, served by an older PostgreSQL that has made its data."""

    def __init__(self, path: Path, programs: Path) -> None:
        super().__init__(path)
        self._home = _OlderHome(path, programs)
        if self._home.data.exists():
            return
        account = self._home.prepare(print)
        self._home.make_server_folder(self._home.data, account)
        options = ["--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", "--auth=peer"]
        data = self._home.data
        done = account.run(programs / "initdb", f"--pgdata={data}", "--no-sync", *options)
        assert done.returncode == 0, done.stderr
        write_config(data, account)
        with (data / "pg_ident.conf").open("a") as file:  # before 16 "all" was a role's name
            file.writelines(
                f"owner {user} {role}\n"
                for user in sorted({"root", account.name})
                for role in ("postgres", "pipeline_loopback")
            )
