"""Texts whose words no blank divides are cut at full stops and words, and characters stay whole."""

# ruff: noqa: RUF001  (marks of other scripts are meant)

import hashlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from icu4py.breakers import CharacterBreaker, LineBreaker, WordBreaker

from pipeline.modalities.base import ReadOptions
from pipeline.modalities.text.windows import TextWindow, split_text
from tests.unit.test_windows import CLIP_TOKENIZER, uncovered

CHINESE = (
    "北京是中华人民共和国的首都，也是一座历史悠久的城市。很多人每天骑着自行车去上班！你喜欢吗？"
)
JAPANESE = "吾輩は猫である。名前はまだ無い。「どこで生れたか見当がつかぬ。」と彼は言った。速い！"
THAI = "แมวสีดำนั่งอยู่บนกำแพงอิฐเก่า ท่ามกลางสายฝนที่ตกลงมาอย่างหนัก ฉันชอบขี่จักรยานไปทำงานทุกวัน "
FAMILY = "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"


def windows_of(text: str, overlap: int = 8) -> list[TextWindow]:
    windows = CLIP_TOKENIZER.split(text, overlap, ReadOptions().max_windows)
    assert max(CLIP_TOKENIZER.count(window.text) for window in windows) <= 77
    assert uncovered(text, windows) == ""
    return windows


def ends(breaker: type[CharacterBreaker | LineBreaker | WordBreaker], text: str) -> set[int]:
    found = {0}
    for segment in breaker(text, "und"):
        found.add(max(found) + len(segment))
    return found


@pytest.mark.parametrize("sentences", [CHINESE, JAPANESE])
def test_windows_end_at_full_stops(sentences: str) -> None:
    windows = windows_of(sentences * 12)
    assert len(windows) > 5
    assert {window.text[-1] for window in windows} <= set("。！？」")


@pytest.mark.parametrize("text", [CHINESE.replace("。", ""), JAPANESE, THAI])
def test_windows_cut_no_word_and_begin_with_no_mark(text: str) -> None:
    text = text.strip("。！？") * 12
    whole = ends(WordBreaker, text)
    for window in windows_of(text):
        assert {window.start, window.end} <= whole
        assert window.text[0] not in "。，！？」"


def test_thai_windows_end_where_a_phrase_does() -> None:
    text = (THAI * 12).strip()
    assert all(text[w.end : w.end + 1].strip() == "" for w in windows_of(text))


@pytest.mark.parametrize("text", [CHINESE, JAPANESE, THAI])
def test_windows_overlap_as_asked(text: str) -> None:
    """By whole words, so by fewer tokens than asked, and never by nothing."""
    windows = windows_of(text.strip() * 12)
    for one, next_one in itertools.pairwise(windows):
        assert next_one.start < one.end
        repeated = (text.strip() * 12)[next_one.start : one.end]
        assert CLIP_TOKENIZER.count(repeated) - 2 <= 2 * 8  # words cost more together than apart
    for one, next_one in itertools.pairwise(windows_of(text * 12, 0)):
        assert next_one.start >= one.end


@pytest.mark.parametrize("text", [CHINESE, JAPANESE, THAI.replace(" ", "")])
def test_ten_thousand_characters_are_windows(text: str) -> None:
    windows = windows_of((text * 400)[:10_000])
    assert 64 < len(windows) <= 512


@pytest.mark.parametrize(
    "one", [FAMILY, "e\u0323\u0302", "\U0001f1e9\U0001f1ea", "\u0915\u094d\u0937\u093f"]
)
def test_what_people_see_as_one_character_is_not_split(one: str) -> None:
    text = one * 200
    whole = ends(CharacterBreaker, text)
    for window in windows_of(text):
        assert {window.start, window.end} <= whole


def test_a_character_that_no_window_holds_is_cut_all_the_same() -> None:
    assert len(windows_of("a" + "\u0301\u0302" * 300)) > 1


@pytest.mark.parametrize(
    ("end", "sentence"),
    [("।", "एक लाल साइकिल दीवार के पास खड़ी है"), ("؟", "هل رأيت الدراجة الحمراء بجانب الجدار")],
)
def test_full_stops_of_other_scripts_end_sentences(end: str, sentence: str) -> None:
    windows = windows_of(f"{sentence}{end} " * 20)
    assert {window.text[-1] for window in windows} == {end}


# SHA-256 of the windows that the releases before cut, so that no vector of theirs is another's.
BEFORE = "72be0e9290fdd4f62084e66d9d0c9d4e707abc3ae88ef32e5f5494754c5e8e40"
PLAIN = (
    'The harbour lies still at dawn. "Really?" asked Mr. Smith... (so he did!) naïve café, 3.14; '
    "https://example.com/a/very/long/path?with=queries&and=more#fragments Ein Übergrößenträger "
    "läuft. "
    "Быстрая лиса прыгает через ленивую собаку! Γρήγορη αλεπού; שלום עולם. Ça va… «Oui.» "
    "한국어 문장은 띄어쓰기가 있다. Łódź, Ærø — and–so–on\n\n\tit's e.g. 1,000.50 € 🚲 🐈. "
)


def test_texts_with_blanks_are_cut_as_before() -> None:
    texts = [PLAIN * 30, "x" * 700 + PLAIN * 3, PLAIN[::-1] * 20, PLAIN.replace(". ", " ") * 20]
    cut = [
        (window.start, window.end)
        for text in texts
        for overlap in (0, 8, 20)
        for window in CLIP_TOKENIZER.split(text.strip(), overlap, 1_000)
    ]
    assert hashlib.sha256(repr(cut).encode()).hexdigest() == BEFORE


@given(
    st.text(alphabet="ab .\n猫はโมง。「」\u200d\u0301\U0001f469\U0001f1e9\u0e48", max_size=300),
    st.integers(0, 12),
)
def test_whatever_it_holds_every_window_fits_and_nothing_is_lost(text: str, overlap: int) -> None:
    windows = split_text(text, CLIP_TOKENIZER.count, 16, overlap, 600)
    assert all(w.text == text[w.start : w.end] for w in windows)
    assert all(CLIP_TOKENIZER.count(w.text) <= 16 for w in windows)
    assert uncovered(text, windows) == ""
    assert [w.start for w in windows] == sorted({w.start for w in windows})


TIBETAN = "འགྲོ་བ་མིའི་རིགས་རྒྱུད་ཡོངས་ལ་སྐྱེས་ཙམ་ཉིད་ནས་ཆེ་མཐོངས་དང༌།ཐོབ་ཐངགི་རང་དབང་འདྲ་མཉམ་དུ་ཡོད་ལ།"
YI = "ꊿꂷꃅꄿꐨꐥꌐꅍꂘꀕꃅꐥꌐꀋꁵꐧꆀ"
JAVANESE = "ꦱꦧꦼꦤ꧀ꦲꦸꦮꦺꦴꦁꦏꦭꦲꦶꦂꦫꦏꦺꦏꦟ꧀ꦛꦶꦩꦂꦢꦶꦏ꧈"


@pytest.mark.parametrize("sentence", [TIBETAN, YI, JAVANESE])
def test_scripts_of_no_list_are_cut_where_unicode_lets_them_and_repeat_words(
    sentence: str,
) -> None:
    text = sentence * 12
    windows = windows_of(text, overlap=16)
    assert len(windows) > 2
    assert {border for w in windows for border in (w.start, w.end)} <= ends(LineBreaker, text)
    for before, after in itertools.pairwise(windows):
        assert before.start < after.start < before.end
