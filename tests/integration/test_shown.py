"""What commands and logs show of rows that anybody wrote: no secret, and nothing that a terminal or
a log takes for more than text."""

import json
import re
from pathlib import Path

import pytest

from pipeline.errors import RowError
from pipeline.loaders import Loader, LoadOptions
from pipeline.modalities.image.rendering import Limits, render
from pipeline.postgres.connections import Connection
from pipeline.queue import failures
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.command import pipeline
from tests.helpers.workers import make_worker

ODD = "a\x1b[2Jb\nroot FORGED: c\u202ed\x9be"
HARMFUL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2028\u2029]")  # but \n, which ends lines
SECRETS = (
    "https://me:SECRET@h.invalid/a",
    "  https://me:SECRET@h.invalid/a?sig=SECRET",
    "//me:SECRET@h.invalid/a",
    "me:SECRET@h.invalid/a",
    "https://h.invalid/a?X-Amz-Signature=SECRET&token=SECRET",
    "h.invalid/a?sig=SECRET",
    "ftp://me:SECRET@h.invalid/" + ODD,
    "s3://me:SECRET@bucket/a?sig=SECRET",
)


@pytest.fixture
def failed(
    url: str, settings: Settings, space: Space, connection: Connection, tmp_path: Path
) -> str:
    """The URL of a database in which such rows have failed, and one of them is stored."""
    connection.execute(
        """
        INSERT INTO source_items (source, source_key, modality, content_ref)
        SELECT %s, ref, 'image', ref FROM unnest(%s::text[]) AS u (ref)
        """,
        (ODD, list(SECRETS)),
    )
    connection.execute(
        """
        INSERT INTO source_items (source, source_key, modality, content_ref)
        VALUES (%s, 'a text', 'text', %s)
        """,
        (ODD, ODD),
    )
    with Loader(LoadOptions(media_roots=(tmp_path,), load_timeout_seconds=5)) as loader:
        make_worker(settings, space, load=loader.load).run()
    connection.execute("UPDATE ingest_jobs SET state = 'failed'")
    # As a release before may have left it.
    connection.execute(
        "UPDATE ingest_jobs SET error = 'no //me:SECRET@h/' || %s, error_code = %s "
        "WHERE source_id = 1",
        (ODD, ODD),
    )
    return url


@pytest.mark.parametrize("arguments", ["", "--rows", "--json", "--rows --json"])
def test_failures_show_no_secret_and_nothing_but_text(
    failed: str, tmp_path: Path, arguments: str
) -> None:
    done = pipeline(tmp_path, "failures", *arguments.split(), DATABASE_URL=failed)
    assert done.returncode == 0, done.stderr
    shown = done.stdout + done.stderr
    assert "SECRET" not in shown
    assert not HARMFUL.search(shown)
    assert "\nroot FORGED" not in shown
    if "--json" in arguments:
        rows = json.loads(done.stdout)
        assert {row["source"] for row in rows} == {ODD.replace("\n", "\ufffd").translate(
            dict.fromkeys([0x1B, 0x202E, 0x9B], "\ufffd"))}  # fmt: skip
    else:
        assert "root FORGED" in shown


OF_THE_SOURCE = [["remove", "a text", "--source", ODD, "--dry-run"], ["remove", "--source", ODD]]


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["doctor"], ["status", "--json"], ["doctor", "--json"], *OF_THE_SOURCE],
    ids=lambda given: " ".join(part for part in given if part != ODD),
)
def test_other_commands_show_nothing_but_text(
    failed: str, tmp_path: Path, arguments: list[str]
) -> None:
    shown = pipeline(tmp_path, *arguments, DATABASE_URL=failed)
    assert not HARMFUL.search(shown.stdout + shown.stderr)
    assert "SECRET" not in shown.stdout + shown.stderr


def test_what_is_stored_and_logged_holds_no_secret(
    failed: str, connection: Connection, space: Space, caplog: pytest.LogCaptureFixture
) -> None:
    errors = [
        error
        for (error,) in connection.execute("SELECT error FROM ingest_jobs WHERE source_id > 1")
    ]
    assert len(errors) == len(SECRETS) - 1
    records = caplog.get_records("setup")
    assert len(records) >= len(SECRETS)
    logged = [record.getMessage() for record in records]
    for text in [*errors, *logged, *failures.names(connection, range(1, 20)).values()]:
        assert "SECRET" not in text
        assert not HARMFUL.search(text), text
        assert "\n" not in text


def test_failed_texts_are_shown_without_being_fetched_whole(
    connection: Connection, space: Space
) -> None:
    connection.execute(
        """
        INSERT INTO source_items (source, source_key, modality, content_ref)
        SELECT 's', n::text, 'image', 'data:image/png;base64,' || repeat('A', 3000000)
        FROM generate_series(1, 3) AS n
        """
    )
    connection.execute("UPDATE ingest_jobs SET state = 'failed', error_code = 'corrupt', error=''")
    for found in (
        failures.failed_rows(connection, space.id, 10), failures.grouped(connection, space.id)
    ):  # fmt: skip
        assert all(len(row.content_ref) == 10_000 for row in found)
        (shown, *_) = failures.explained(found)
        assert shown["content_ref"] == "data:image/png;base64,(3000000 characters)"
        assert "content_bytes" not in shown


@pytest.mark.parametrize(
    "content",
    [
        b"root:x:0:0:hidden", b"\x01\x02hidden\x05\x06", b"II*\0hidden, and more", b"MM\0*hidden",
        b"\x89PNG\r\n\x1a\n\0\0\0\4hidden", b"GIF89ahidden", b"BMhiddenhidden\x28\0\0\0hidden",
        b"\0\0\0\x20ftypavifhiddenhidden", b"RIFFhiddWEBPhiddenhidden", b"\xff\xd8\xffhidden",
    ],
    ids=lambda content: content[:4].hex(),
)  # fmt: skip
def test_no_error_tells_the_first_bytes_of_a_file(content: bytes) -> None:
    with pytest.raises(RowError) as failure:
        render(content, Limits(1000, 1000))
    text = failure.value.message
    assert "hid" not in text
    assert content[:8].hex(" ") not in text
    assert b"hid".hex(" ") not in text
