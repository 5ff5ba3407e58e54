"""What a reference is, by its scheme, and what of it may be shown."""

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.errors import PermanentRowError
from pipeline.loaders import Loader, LoadOptions
from pipeline.references import (
    from_folder,
    is_data,
    is_elsewhere,
    name_of,
    pointer,
    redact,
    redact_message,
    scheme_of,
    suffix_of,
)
from pipeline.sources.files import expand, reference_rows
from pipeline.sources.source_items import AddReport


@pytest.mark.parametrize(
    ("reference", "scheme", "elsewhere", "suffix", "name"),
    [
        ("photos/a.JPG", None, False, ".jpg", "a.JPG"),
        ("/photos/no ending", None, False, "", "no ending"),
        ("./a:b.png", None, False, ".png", "a:b.png"),
        ("data:image/png;base64,AA==", "data", False, None, "data:image/png;base64,AA=="),
        ("file:///photos/a.webp", "file", True, ".webp", "file:///photos/a.webp"),
        ("HTTPS://h/a.JPG?v=1.gif#x.tif", "https", True, ".jpg", "HTTPS://h/a.JPG?v=1.gif#x.tif"),
        ("s3://bucket/a.b/key", "s3", True, "", "s3://bucket/a.b/key"),
        ("az://c/photo.avif", "az", True, ".avif", "az://c/photo.avif"),
        ("http://[broken/a.jpg", "http", True, "", "http://[broken/a.jpg"),
        ("ftp:a.jpg", "ftp", False, ".jpg", "ftp:a.jpg"),
        ("", None, False, "", ""),
    ],
)
def test_a_reference_is_what_its_beginning_and_its_path_say(
    reference: str, scheme: str | None, elsewhere: bool, suffix: str | None, name: str
) -> None:
    assert scheme_of(reference) == scheme
    assert is_elsewhere(reference) is elsewhere
    assert is_data(reference) is (scheme == "data")
    assert suffix is None or suffix_of(reference) == suffix
    assert name_of(reference) == name


def test_a_relative_path_is_one_of_the_folder_of_its_table() -> None:
    folder = Path("/tables")
    assert from_folder("a/b.jpg", folder) == "/tables/a/b.jpg"
    assert from_folder("/a/b.jpg", folder) == "/a/b.jpg"
    for whole in ("s3://b/k", "https://h/a.jpg", "data:,x", "file:///a.jpg"):
        assert from_folder(whole, folder) == whole


def test_an_item_keeps_no_content_instead_of_a_reference() -> None:
    assert pointer("data:image/png;base64,AAAA") == "data:image/png;base64,(4 characters)"
    assert pointer("https://me:secret@h/k?sig=x") == "https://me:secret@h/k?sig=x"


@given(st.text(st.characters(exclude_categories=())))
def test_no_text_breaks_any_of_them(text: str) -> None:
    assert (scheme_of(text) == "data") == is_data(text)
    assert len(redact(text)) <= 300
    assert redact(text).isprintable()
    suffix_of(text), name_of(text), pointer(text), redact_message(text)


@pytest.mark.parametrize(
    ("ref", "shown"),
    [
        ("photos/a.jpg", "photos/a.jpg"),
        ("/data/a#1?.jpg", "/data/a#1?.jpg"),
        ("https://example.com/a.jpg", "https://example.com/a.jpg"),
        ("https://example.com:8080/@user/a.jpg", "https://example.com:8080/@user/a.jpg"),
        ("https://me:secret@example.com/a", "https://...@example.com/a"),
        ("https://me:se/cret@example.com/a", "https://...@example.com/a"),
        ("https:/me:secret@example.com/a", "https:/...@example.com/a"),
        ("HTTPS:\\\\me:secret@example.com", "HTTPS:\\\\...@example.com"),
        (
            "https://b.s3.amazonaws.com/k?X-Amz-Signature=secret&X-Amz-Expires=60",
            "https://b.s3.amazonaws.com/k?X-Amz-Signature=...&X-Amz-Expires=...",
        ),
        ("https://a.blob.core.windows.net/c/k?secret", "https://a.blob.core.windows.net/c/k?..."),
        ("https://example.com/a#secret", "https://example.com/a#..."),
        ("postgresql://me:secret@db/x?password=secret", "postgresql://...@db/x?password=..."),
        ("data:image/png;base64,c2VjcmV0", "data:image/png;base64,(8 characters)"),
        ("a\nb\x1b[31m", "a\ufffdb\ufffd[31m"),
        ("  https://me:secret@h/a", "https://...@h/a"),
        ("\xa0\thttps://h/a?secret", "https://h/a?..."),
        ("ht\ntps://me:secret@h/?secret", "ht\ufffdtps://...@h/?..."),
        ("\u200bhttps://me:secret@h/", "\ufffdhttps://...@h/"),
        ("//me:secret@h/a", "//...@h/a"),
        ("//secret@h/a?secret", "//...@h/a?..."),
        ("\\\\me:secret@h\\a", "\\\\...@h\\a"),
        ("me:secret@h/a", "...@h/a"),
        ("me:se/cret/secret@h/a", "...@h/a"),
        ("me:secret%40h/a", "...@h/a"),
        ("https:me:secret@h/a", "https:..."),
        ("s3:b/k?X-Amz-Signature=secret", "s3:..."),
        ("S3:secret", "S3:..."),
        ("s3:/b/k?sig=secret", "s3:/b/k?sig=..."),
        ("gs:u:secret@b/k", "gs:..."),
        ("password='secret secret'", "password=..."),
        ("password = 'it\\'s secret' host=h", "password = ... host=h"),
        ("?password='secret secret'", "?password=..."),
        ("https://h/https://me:secret@other/a", "https://h/https://...@other/a"),
        ("https://me:secret%40h/a", "https://...@h/a"),
        ("h/a?X-Amz-Signature=secret&x=1", "h/a?X-Amz-Signature=...&x=..."),
        ("h/a;sig=secret", "h/a;sig=..."),
        ("https://h/a;token=secret/b", "https://h/a;token=..."),
        ("/a/b?access_token=secret", "/a/b?access_token=..."),
        ("blob:https://me:secret@h/", "blob:https://...@h/"),
        ("https://" + "secret" * 50 + "/a", "https://..."),
        (" DATA:image/png;base64,c2VjcmV0", "DATA:image/png;base64,(8 characters)"),
        ("/photos/12:30 me@home.jpg", "/photos/12:30 me@home.jpg"),
        ("/photos/me@home.jpg", "/photos/me@home.jpg"),
        ("https://h/@1.2,3.4/a=b", "https://h/@1.2,3.4/a=b"),
    ],
)
def test_a_shown_reference_holds_no_secret(ref: str, shown: str) -> None:
    assert redact(ref) == shown
    assert "secret" not in redact(ref)


@given(
    blank=st.sampled_from(["", " ", "\t", "\n ", "\xa0", "\u2003", "\u200b", "\x00"]),
    scheme=st.sampled_from(["", "https:", "http:", "HtTp:", "s3:", "ftp:", "postgresql:", "x:"]),
    slashes=st.sampled_from(["", "/", "//", "///", "\\\\", "/\\"]),
    user=st.sampled_from(["me:SECRET@", "me:SECRET%40", "me:SEC/RET:SECRET@", ":SECRET@"]),
    rest=st.sampled_from(
        ["h", "h/", "h/a@b", "h:80/a?X-Amz-Signature=SECRET", "h/a?sig=SECRET&b", "h?token=SECRET"]
    ),
)
def test_no_form_of_a_url_shows_its_secret(
    blank: str, scheme: str, slashes: str, user: str, rest: str
) -> None:
    reference = f"{blank}{scheme}{slashes}{user}{rest}"
    for shown in (redact(reference), redact_message(f"not found: {reference}, so it is")):
        assert "SECRET" not in shown
        assert shown.isprintable()


@given(
    scheme=st.sampled_from(["s3", "gs", "az", "http", "https", "S3", "Az"]),
    before=st.sampled_from(["", "a/b/", "u:", "/", "k?X-Amz-Signature=", "k?sig=", "c?sig=a&b="]),
    secret=st.sampled_from(
        ["SECRET", "SECRET@b/k", "SECRET://bucket/key", "SECRET?x=1", ":SECRET"]
    ),
    lowered=st.booleans(),
)
def test_a_known_scheme_without_slashes_shows_nothing_behind_it(
    scheme: str, before: str, secret: str, lowered: bool
) -> None:
    assume(before != "/" or "@" in secret)  # else a path, which is shown
    reference = f"{scheme}:{before}{secret}"
    reference = reference.lower() if lowered else reference
    for shown in (redact(reference), redact_message(f"bad: {reference}, 'so' '{reference}'")):
        assert "secret" not in shown.lower()


@given(scheme=st.sampled_from(["s3", "gs", "az", "S3"]), rest=st.text(min_size=1))
def test_a_store_without_slashes_is_a_bad_reference_that_is_not_repeated(
    scheme: str, rest: str
) -> None:
    assume(not rest.startswith("//"))
    reference = f"{scheme}:SECRET{rest}"
    assert from_folder(reference, Path("/tables")) == reference
    with Loader(LoadOptions()) as loader, pytest.raises(PermanentRowError) as failure:
        loader.load(reference)
    assert failure.value.code == "bad_reference"
    assert "secret" not in str(failure.value).lower()


def test_an_argument_that_names_nothing_is_shown_without_its_secret() -> None:
    report = AddReport()
    assert not list(expand(["foo:u:SECRET@h", "a?sig=SECRET"], report))
    assert not list(reference_rows(["s3:b/k?X-Amz-Signature=SECRET"], "a", {}, report))
    assert report.errors == [
        "...@h: there is no such file or folder",
        "a?sig=...: there is no such file or folder",
        "s3:...: expected s3://, with two slashes",
    ]


def test_a_list_of_our_schemes_stays_as_it_is() -> None:
    said = "expected a path, file:, data:, http(s)://, s3://, gs:// or az://"
    assert redact_message(said) == said


def test_a_shown_reference_is_short() -> None:
    assert len(redact("https://example.com/" + "a" * 10_000)) == 300


def test_urls_inside_a_message_are_redacted() -> None:
    message = 'error sending request for url (https://u:secret@h/k?sig=secret): "closed"'
    assert redact_message(message) == (
        'error sending request for url (https://...@h/k?sig=... "closed"'
    )
