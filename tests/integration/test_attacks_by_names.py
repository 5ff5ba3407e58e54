"""What a login puts where bare names are looked up, as traps for whoever may do more."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from pipeline.postgres.connections import Connection, connect
from tests.helpers.databases import role
from tests.helpers.in_turn import SAID_BY_SERVERS, Order, Outcome, carry_out, outcomes, program
from tests.helpers.traps import set_traps
from tests.integration.test_command_rights import TABLE

ROOT = Path(__file__).parents[2]


@contextmanager
def mallory_in(admin: Connection, statements: str) -> Iterator[None]:
    """Somebody who may more in the database than others; afterwards nothing of it is theirs."""
    database = admin.info.dbname
    with role(admin, "mallory"):
        admin.execute(statements.format(database=database).encode())
        try:
            yield
        finally:
            admin.execute(f"ALTER DATABASE {database} OWNER TO CURRENT_USER".encode())


# How a schema that the migration uses is somebody else's, PIPELINE_SCHEMA, and what is said.
FIRST = {
    "open": ("GRANT CREATE ON SCHEMA public TO PUBLIC", "public", "every login may create"),
    "pgvector in an open one": (
        "CREATE EXTENSION vector; GRANT CREATE ON SCHEMA public TO PUBLIC",
        "pipeline",
        "every login may create functions in the schema public",
    ),
    "owned": ("ALTER DATABASE {database} OWNER TO mallory", "public", "migrate as mallory"),
    "given": (
        "GRANT CREATE ON SCHEMA public TO mallory",
        "public",
        'REVOKE CREATE ON SCHEMA "public" FROM "mallory"',
    ),
    "pgvector in an owned one": (
        "CREATE EXTENSION vector; ALTER DATABASE {database} OWNER TO mallory",
        "pipeline",
        'ALTER EXTENSION vector SET SCHEMA "pipeline"',
    ),
    "another": ("ALTER DATABASE {database} OWNER TO mallory", "pipeline", None),
}


@pytest.mark.parametrize("case", FIRST)
def test_a_superuser_who_migrates_springs_no_trap(
    case: str, empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare, schema, said = FIRST[case]
    monkeypatch.setenv("PIPELINE_SCHEMA", schema)
    with connect(empty_url) as admin, mallory_in(admin, prepare):
        traps = set_traps(admin, "public")
        done = carry_out(Order(["migrate", "--no-space"], empty_url))
        assert traps.sprung(admin) is None, done.stderr
        assert (done.code, (said or "") in done.stderr) == (1 if said else 0, True), done.stderr


@pytest.mark.parametrize("case", ["open", "owned", "given"])
def test_nor_does_one_by_alembic_itself(case: str, empty_url: str, tmp_path: Path) -> None:
    prepare, _, said = FIRST[case]
    with connect(empty_url) as admin, mallory_in(admin, prepare):
        traps = set_traps(admin, "public")
        done = subprocess.run(
            [sys.executable, "-m", "alembic", "upgrade", "head"],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": empty_url, "PIPELINE_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert traps.sprung(admin) is None, done.stderr
        assert said is not None
        assert (done.returncode != 0, said in done.stdout + done.stderr) == (True, True)


BEFORE = (
    "migrate --no-space",
    "space create demo --model demo --precision float32",
    "space activate demo",
    'add --text {text} --metadata {{"pair":"0"}}',
    'add {folder}/one.png --metadata {{"pair":"0"}}',
    "add http://localhost/no.png",
    "ingest --once",
    "space export demo {folder}/items.parquet",
    "space create second --model demo --precision bfloat16",
    "space build second",
)


def run(url: str, folder: Path, *commands: str) -> list[Outcome]:
    """Commands in a process, with our tables in the schema ``pipeline``."""
    orders = [
        Order(
            [part.format(folder=folder, text="cat") for part in command.split()],
            url,
            url if command == "serve" else None,
            until=SAID_BY_SERVERS.get(command.split()[0]),
        )
        for command in commands
    ]
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.in_turn"],
        input=program(orders),
        cwd=ROOT,
        env={**os.environ, "PIPELINE_HOME": str(folder / "home"), "PIPELINE_SCHEMA": "pipeline"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return outcomes(done.stdout)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        Image.new("RGB", (32, 32), (200, 80, 20)).save(tmp_path / f"{name}.png")
    (tmp_path / "texts.txt").write_text("a dog\na boat\n")
    return tmp_path


def test_a_superuser_springs_no_trap_by_any_command(empty_url: str, folder: Path) -> None:
    """In a database of somebody else's, whose schemas are on the role's search path."""
    for outcome in run(empty_url, folder, *BEFORE):
        assert outcome.code in (0, 1), outcome
    prepare = "ALTER DATABASE {database} OWNER TO mallory; CREATE SCHEMA mallory"
    prepare += "; ALTER DATABASE {database} SET search_path = mallory, public"
    with connect(empty_url) as admin, mallory_in(admin, prepare):
        traps = set_traps(admin, "public", "mallory")
        # The model of `space create` comes when the space that is made already is gone.
        names = sorted(TABLE, key=lambda name: name == "space create")
        done = run(empty_url, folder, *(TABLE[name].arguments for name in names))
        assert traps.sprung(admin) is None
    # A row that cannot be embedded, an odd owner and what is not attached are theirs to say.
    say_so = {"ingest", "space build", "doctor", "detach"}
    assert [
        outcome
        for name, outcome in zip(names, done, strict=True)
        if outcome.code and name not in say_so
    ] == []
