"""``pipeline db start --port``: the embedded server for BI tools, by psycopg and by JDBC."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pipeline import spaces
from pipeline.postgres import migrate
from pipeline.postgres.connections import connect
from pipeline.postgres.embedded import EmbeddedServer
from pipeline.settings import Settings
from tests.helpers.command import pipeline
from tests.helpers.fakes import FakeEmbedder, add_texts
from tests.helpers.folders import memory_folder
from tests.helpers.tcp_server import free_port
from tests.helpers.workers import work

DRIVER = Path("/usr/share/java/postgresql.jar")  # libpostgresql-jdbc-java
JAVA = shutil.which("java")
# What DBeaver and Metabase do first, then what a person does.
PROGRAM = """
import java.sql.*;
import java.util.Properties;

class Read {
    public static void main(String[] arguments) throws Exception {
        Properties login = new Properties();
        login.setProperty("user", arguments[1]);
        login.setProperty("password", System.getenv("READER_PASSWORD"));
        try (Connection connection = DriverManager.getConnection(arguments[0], login)) {
            ResultSet tables = connection.getMetaData().getTables(
                null, "public", "multimodal_items", new String[] {"PARTITIONED TABLE"});
            while (tables.next()) System.out.println(tables.getString("TABLE_NAME"));
            ResultSet columns = connection.getMetaData().getColumns(
                null, "public", "multimodal_items", "embedding");
            while (columns.next()) System.out.println(columns.getString("TYPE_NAME"));
            PreparedStatement query = connection.prepareStatement(
                "SELECT content_ref, embedding FROM multimodal_items WHERE modality = ?");
            query.setString(1, "text");
            ResultSet rows = query.executeQuery();
            while (rows.next())
                System.out.println(rows.getString(1) + " " + rows.getString(2).startsWith("["));
        }
    }
}
"""


@pytest.fixture(scope="module")
def opened() -> Iterator[tuple[EmbeddedServer, int, str]]:
    """A server with one item, its port, and what the command printed."""
    with tempfile.TemporaryDirectory(prefix="port-", dir=memory_folder()) as name:
        base, port = Path(name).resolve(), free_port()
        base.chmod(0o755)
        server = EmbeddedServer(base / "home")
        done = pipeline(base, "db", "start", "--port", str(port))
        assert done.returncode == 0, done.stderr
        migrate.upgrade(server.url())
        with connect(server.url()) as connection:
            spaces.activate(connection, spaces.create(connection, "fake", FakeEmbedder()))
            add_texts(connection, ["a dog"])
            settings = Settings.load(database_url=server.url(), home=base / "home")
            work(settings, spaces.active_space(connection))
        try:
            yield server, port, done.stdout
        finally:
            server.stop()


def password_of(server: EmbeddedServer) -> str:
    return server.password_file.read_text().strip().split(":")[4]


def test_the_reader_comes_in_by_its_password_and_reads(
    opened: tuple[EmbeddedServer, int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, port, printed = opened
    url = f"postgresql://pipeline_reader@127.0.0.1:{port}/pipeline"
    assert printed == f"{server.url()}\n{url}\n"
    assert server.password_file.stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("PGPASSFILE", str(server.password_file))
    with psycopg.connect(url, autocommit=True) as reader:
        assert reader.execute("SELECT content_ref FROM multimodal_items").fetchall() == [("a dog",)]
        assert reader.execute("SELECT count(*) FROM item_catalog").fetchone() == (1,)
        for refused in ("DELETE FROM source_items", "SELECT * FROM pg_authid", "CREATE TABLE t ()"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(refused.encode())
    with psycopg.connect(server.url()) as admin:  # by the socket as ever
        stored = admin.execute(
            "SELECT rolpassword FROM pg_authid WHERE rolname = 'pipeline_reader'"
        ).fetchone()
    assert stored is not None
    assert stored[0].startswith("SCRAM-SHA-256$")


def test_nobody_else_comes_in_and_the_password_is_nowhere_else(
    opened: tuple[EmbeddedServer, int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, port, _ = opened
    monkeypatch.delenv("PGPASSFILE", raising=False)
    for user, password, says in (
        ("pipeline_reader", "wrong", "password authentication failed"),
        ("pipeline_reader", "", "no password supplied"),
        ("postgres", password_of(server), "no pg_hba.conf entry"),
        ("pipeline_loopback", password_of(server), "no pg_hba.conf entry"),
    ):
        with pytest.raises(psycopg.OperationalError, match=says):
            psycopg.connect(host="127.0.0.1", port=port, user=user, password=password, dbname="x")
    secret = password_of(server).encode()
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert secret not in process.read_bytes()
        except OSError:
            continue
    found = [path for path in server.home.rglob("*") if path.is_file() and not path.is_symlink()]
    holding = [path for path in found if secret in path.read_bytes()]
    assert holding == [server.password_file]


def test_the_port_is_that_of_the_start_and_the_password_stays(
    opened: tuple[EmbeddedServer, int, str],
) -> None:
    server, port, _ = opened
    before, base = password_of(server), server.home.parent
    other = pipeline(base, "db", "start", "--port", str(port + 1 if port < 65535 else port - 1))
    assert other.returncode == 1
    assert "PostgreSQL runs already, and not at the port" in other.stderr
    again = pipeline(base, "db", "start", "--port", str(port))
    assert (again.returncode, password_of(server)) == (0, before)
    assert "the last field of" in again.stderr
    assert before not in again.stdout + again.stderr
    server.stop()
    server.start()  # without it
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(host="127.0.0.1", port=port, user="pipeline_reader", password=before)
    server.stop()
    assert server.start(port=port) == server.url()
    assert server.open_port(port).endswith(f":{port}/pipeline")
    assert password_of(server) == before


def has_compiler() -> bool:
    listed = subprocess.run(
        [str(JAVA), "--list-modules"], capture_output=True, text=True, check=False
    )
    return "jdk.compiler" in listed.stdout


@pytest.mark.skipif(
    JAVA is None or not DRIVER.exists(), reason="no java, or no libpostgresql-jdbc-java"
)
def test_jdbc_reads_it(opened: tuple[EmbeddedServer, int, str], tmp_path: Path) -> None:
    if not has_compiler():
        pytest.skip("this java has no compiler (a JRE): a JDK is needed to run a source file")
    server, port, _ = opened
    source = tmp_path / "Read.java"
    source.write_text(PROGRAM)
    url = f"jdbc:postgresql://127.0.0.1:{port}/pipeline"
    done = subprocess.run(
        [str(JAVA), "-cp", str(DRIVER), str(source), url, "pipeline_reader"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "READER_PASSWORD": password_of(server)},
    )
    assert done.stdout.splitlines() == ["multimodal_items", "halfvec", "a dog true"], done.stderr
