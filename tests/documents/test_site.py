"""The site: built as `make docs` builds it, compared with what it describes, and looked at."""

import html
import importlib.util
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import pipeline
from pipeline.cli import app
from pipeline.postgres.connections import connect
from tests.helpers.browser import chromium, watched

ROOT = Path(__file__).parents[2]
# What a browser fetches by itself: not a link that somebody follows.
FETCHED = re.compile(
    r"<(?:script|link|img|iframe|source|video|audio)\b[^>]*?\b(?:src|href)=\"(?:https?:)?//[^>]*>"
    r"|(?:@import|url\()\s*[\"']?(?:https?:)?//[^)]*"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder."""
    folder = tmp_path_factory.mktemp("site")
    (line,) = re.findall(
        r"\$\(BIN\)/python (-m sphinx .*SITE.*)", (ROOT / "Makefile").read_text("utf-8")
    )
    built = subprocess.run(
        [sys.executable, *line.replace('"$(SITE)"', str(folder)).split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (built.returncode, built.stderr) == (0, "")
    return folder


@pytest.fixture(scope="module")
def pages() -> Any:
    """The tool that writes the reference."""
    spec = importlib.util.spec_from_file_location("pages", ROOT / "tools/reference_pages.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def test_every_public_name_is_on_it(site: Path) -> None:
    page = (site / "docs/reference/python.html").read_text("utf-8")
    described = set(re.findall(r'<dt class="[^"]*" id="pipeline\.(\w+)">', page))
    assert set(pipeline.__all__) - described == set()


def test_every_command_is_on_it_with_its_options(site: Path) -> None:
    page = (site / "docs/reference/commands.html").read_text("utf-8")
    shown = " ".join(html.unescape(re.sub(r"<[^>]+>", "", page)).split())
    found = list(leaves(get_command(app), "pipeline"))
    assert len(found) > 30
    for path, command in found:
        section = shown.partition(f"{path}\N{PILCROW SIGN}")[2].partition("\N{PILCROW SIGN}")[0]
        assert f"$ {path}" in section
        for option in (name for one in command.params for name in one.opts if name[:2] == "--"):
            assert option == "--help" or option in section, (path, option)


def leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, below in command.commands.items():
        yield from leaves(below, f"{path} {name}")


def test_what_it_says_of_sql_is_what_the_database_says(pages: Any, url: str) -> None:
    with connect(url) as connection:
        of_functions = connection.execute(
            "SELECT proname, obj_description(oid, 'pg_proc') "
            "FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        ).fetchall()
        columns = connection.execute(
            "SELECT c.relname, a.attname, col_description(c.oid, a.attnum) "
            "FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid "
            "WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped"
        ).fetchall()
    functions = sections(pages.functions())
    assert len(functions) > 25
    assert {(name, plain(body[-1])) for name, body in functions.items()} <= set(of_functions)
    of_columns = {(table, column): comment for table, column, comment in columns}
    for name, body in {**sections(pages.views()), **sections(pages.tables())}.items():
        rows = [line.strip("| ").split(" | ") for line in body if line.startswith("| `")]
        assert {column for table, column in of_columns if table == name} == {
            row[0].strip("`") for row in rows
        }
        for row in rows:
            comment = of_columns[name, row[0].strip("`")] or ""
            assert plain(row[-1]) == " ".join(comment.split())


def sections(lines: Iterator[str]) -> dict[str, list[str]]:
    """The lines of each section with something on them, by its title."""
    found: dict[str, list[str]] = {}
    for line in filter(None, lines):
        if line.startswith("### "):
            body = found.setdefault(line[4:], [])
        else:
            body.append(line)
    return found


def plain(markdown: str) -> str:
    return html.unescape(re.sub(r"\\([*|])", r"\1", markdown))


def test_its_pages_ask_nobody_else_for_anything(site: Path) -> None:
    looked_at = [path for path in site.rglob("*") if path.suffix in (".html", ".css")]
    assert len(looked_at) > 40
    asked = {
        (path.relative_to(site).as_posix(), found)
        for path in looked_at
        for found in FETCHED.findall(path.read_text("utf-8"))
    }
    assert asked == set()


@pytest.mark.parametrize(
    "tag",
    ['<script src="https://cdn/x.js">', '<link rel="x" href="//fonts/x">', "@import 'http://x'"],
)
def test_a_page_that_asks_would_be_noticed(tag: str) -> None:
    assert FETCHED.search(tag)


def test_it_reads_on_a_telephone(site: Path) -> None:
    handler = partial(Silent, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = f"http://127.0.0.1:{server.server_port}/"
        narrow = {"viewport": {"width": 390, "height": 800}}
        try:
            with chromium() as browser, watched(browser, **narrow) as seen:
                seen.page.goto(at)
                seen.page.wait_for_url("**/docs/index.html")
                for name in ("docs/index", "docs/reference/sql", "docs/notebooks/analysts-tour"):
                    seen.page.goto(f"{at}{name}.html")
                    assert seen.page.evaluate("document.documentElement.scrollWidth") == 390
        finally:
            server.shutdown()


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *values: Any) -> None:  # noqa: A002 (its name there)
        pass
