"""Cleaning of texts."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PermanentRowError
from pipeline.modalities.text.cleaning import clean_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a red bicycle", "a red bicycle"),
        ("  a red\tbicycle \n", "a red\tbicycle"),
        ("cafe\u0301", "caf\u00e9"),
        ("a\0red bicycle on the road", "a red bicycle on the road"),
        ("\ud83d\ude00 smile", "\U0001f600 smile"),  # the two halves of one emoji
        ("lone \ud83d half of an emoji", "lone \ufffd half of an emoji"),
        ("\ufeffa mark of byte order", "\ufeffa mark of byte order"),
        ("\u200f\u05e9\u05dc\u05d5\u05dd", "\u200f\u05e9\u05dc\u05d5\u05dd"),
        ("\U0001f469\u200d\U0001f680", "\U0001f469\u200d\U0001f680"),  # joined emoji stay joined
    ],
)
def test_text_is_cleaned(text: str, expected: str) -> None:
    assert clean_text(text) == expected


@pytest.mark.parametrize(
    "text", ["", " ", "\t\r\n", "\u00a0\u2003\u3000", "\u200b\ufeff", "\0\0\0", "\x1f", "\u2028"]
)
def test_text_without_anything_visible_is_refused(text: str) -> None:
    with pytest.raises(PermanentRowError, match="expected at least one character") as failure:
        clean_text(text)
    assert failure.value.code == "empty_text"


@pytest.mark.parametrize(
    "text", ["\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01", "a\ud800b\ud800c\ud800"]
)
def test_binary_data_is_no_text(text: str) -> None:
    with pytest.raises(PermanentRowError, match="looks like binary data") as failure:
        clean_text(text)
    assert failure.value.code == "bad_text"


@given(st.text(st.characters(exclude_categories=())))
def test_cleaning_gives_storable_text_and_is_idempotent(text: str) -> None:
    try:
        cleaned = clean_text(text)
    except PermanentRowError:
        return
    assert "\0" not in cleaned
    cleaned.encode()
    assert unicodedata.is_normalized("NFC", cleaned)
    assert cleaned == cleaned.strip() != ""
    assert clean_text(cleaned) == cleaned
