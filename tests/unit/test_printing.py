"""Nothing that somebody else wrote does more on a terminal or in a log than to be seen."""

import io
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli import output
from pipeline.cli.printing import printable, printable_json

# Clears the screen, forges a line, turns the reading around, ends a paragraph, begins a sequence.
FORGED = "a\x1b[2Jb\nc\u202ed\u2029e\x9bf\u2067g\x7f\x85\ud800"
HARMFUL = set("\x1b\n\u202e\u2029\x9b\u2067\x7f\x85\ud800")


def test_what_is_seen_stays_and_what_does_more_does_not() -> None:
    for text in (
        "naïve café, 北京\u3000の, שלום",
        "\N{FAMILY} 👨\u200d👩\u200d👧 ש\u200cא",
        "1\xa0000 km",
    ):
        assert printable(text) == text
        assert json.loads(printable_json({"a": text})) == {"a": text}
        assert text in printable_json([text])
    assert printable(FORGED) == "a�[2Jb�c�d�e�f�g���"


@given(st.text(st.characters(exclude_categories=())))
def test_json_loses_nothing_and_holds_nothing_harmful(text: str) -> None:
    shown = printable_json({text: [text]})
    assert json.loads(shown) == {text: [text]}
    assert not HARMFUL & set(shown)
    assert not HARMFUL & set(printable(text))


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_log_line_is_one_line_without_secrets(
    log_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    root, own = logging.getLogger(), logging.getLogger("pipeline")
    before, level, own_level = root.handlers[:], root.level, own.level
    try:
        output.setup_logging(log_format, "info")
        own.warning("row %s of %s", FORGED, "//me:SECRET@h/", extra={"source": FORGED})
        try:
            raise ValueError("https://h/?sig=SECRET " + FORGED)
        except ValueError:
            own.exception("it failed")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        own.setLevel(own_level)
    lines = stream.getvalue().split("\n")
    assert "SECRET" not in stream.getvalue()
    assert not (HARMFUL - {"\n"}) & set(stream.getvalue())
    if log_format == "json":
        first, second, end = lines
        assert json.loads(first)["source"] == FORGED
        assert "ValueError" in json.loads(second)["traceback"]
    else:
        first, *traceback, end = lines
        assert first.endswith("row a�[2Jb�c�d�e�f�g��� of //...@h/")
        assert traceback[0].endswith("ERROR it failed")
        assert traceback[1].startswith("  Traceback")
        assert traceback[-2].startswith("  ValueError: https://h/?sig=...")
        assert traceback[-1] == "  c�d�e�f�g���"  # not what begins a line
    assert end == ""


def test_tables_notes_and_lines_are_printable(capsys: pytest.CaptureFixture[str]) -> None:
    output.setup_logging("text", "warning")  # whatever another test has set up
    output.print_table(FORGED, ("a", FORGED), [(FORGED, 1)])
    output.note(FORGED)
    output.say(FORGED)
    output.print_json({FORGED: FORGED})
    with pytest.raises(SystemExit):
        output.fail(ValueError(FORGED))
    out, err = capsys.readouterr()
    assert not (HARMFUL - {"\n"}) & set(out + err)
    assert err.count("\n") == 2
    assert len([line for line in out.split("\n") if "[2Jb" in line]) == 4 + 1
