"""What is registered: modalities, and families of embedders."""

from collections.abc import Iterator

import pytest

from pipeline import embedders, modalities
from pipeline.embedders.openclip import OPENCLIP
from pipeline.errors import ConfigurationError, ModelError
from pipeline.modalities import (
    AUDIO,
    DEPTH,
    DOCUMENT,
    IMAGE,
    IMU,
    TEXT,
    THERMAL,
    VIDEO,
    ModalityType,
)
from tests.helpers.digits import DIGITS, Digits
from tests.helpers.fakes import FAKE_FAMILY, FakeFamily


@pytest.fixture
def digits() -> Iterator[Digits]:
    modalities.register(DIGITS)
    yield DIGITS
    modalities.unregister("digits")


def test_what_is_registered_is_found_by_all_that_it_says_of_itself(digits: Digits) -> None:
    assert modalities.get("digits") is digits
    assert modalities.of_suffix(".digits") is digits
    assert modalities.of_reference("s3://b/k.DIGITS?x=1") is digits
    assert modalities.sniffed(b"digits\n1", ["text", "image", "digits"]) is digits
    assert modalities.sniffed(b"digits\n1", ["text", "image"]) is None
    assert modalities.registered() == [
        TEXT, IMAGE, AUDIO, VIDEO, DOCUMENT, DEPTH, THERMAL, IMU, digits,
    ]  # fmt: skip
    assert modalities.known_names()[6:] == ("thermal", "imu", "digits")
    assert modalities.ordered(["later", "digits", "image", "audio"]) == (
        "image", "audio", "digits", "later",
    )  # fmt: skip
    assert ModalityType("digits") == "digits"
    assert ModalityType("digits").name == "DIGITS"
    modalities.register(digits)  # the same again


def test_the_eight_are_members_and_others_are_refused() -> None:
    assert [str(member) for member in ModalityType] == [
        "text", "image", "audio", "video", "document", "depth", "thermal", "imu",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="smell"):
        ModalityType("smell")
    with pytest.raises(ConfigurationError, match=r"no modality 'smell'; there are: text, image, "):
        modalities.check_name("smell")
    assert modalities.check_name("thermal") == "thermal"
    with pytest.raises(ConfigurationError, match=r"cannot decode .* 'smell'; it knows text, image"):
        modalities.get("smell")


def test_no_two_modalities_of_the_package_share_a_suffix_or_a_usual_column() -> None:
    for what in ("suffixes", "columns"):
        every = [one for modality in modalities.registered() for one in getattr(modality, what)]
        assert len(every) == len(set(every))


@pytest.mark.parametrize("name", ["", "Smell", "a b", "1d", "x" * 21, "gerüche", 'a"b'])
def test_a_name_that_is_no_plain_one_is_refused(name: str) -> None:
    class Odd(Digits):
        pass

    Odd.name = name
    with pytest.raises(ConfigurationError, match="cannot name a modality"):
        modalities.register(Odd())
    assert name not in modalities.known_names()


@pytest.mark.parametrize(
    ("attribute", "value", "says"),
    [
        ("media", "smell", "not one of text, image, audio"),
        ("suffixes", frozenset({"digits"}), "'digits' is no suffix"),
        ("suffixes", frozenset({".DIGITS"}), "'.DIGITS' is no suffix"),
        ("suffixes", frozenset({"."}), "'.' is no suffix"),
        ("suffixes", frozenset({".ok", ".jpg"}), "'.jpg' is that of 'image' already"),
    ],
)
def test_what_nobody_could_use_is_refused_and_nothing_is_registered(
    attribute: str, value: object, says: str
) -> None:
    class Odd(Digits):
        name = "odd"

    setattr(Odd, attribute, value)
    with pytest.raises(ConfigurationError, match=says):
        modalities.register(Odd())
    assert modalities.find("odd") is None
    assert "odd" not in modalities.known_names()


def test_a_name_is_registered_once(digits: Digits) -> None:
    with pytest.raises(ConfigurationError, match="there is a modality 'digits' already"):
        modalities.register(Digits())
    with pytest.raises(ConfigurationError, match="comes with the package"):
        modalities.unregister("text")


def test_a_family_is_found_by_its_kind_and_by_the_spec() -> None:
    assert embedders.family_of({"kind": "openclip"}) is OPENCLIP
    assert embedders.family_that_claims("fake:12") is FAKE_FAMILY
    assert embedders.family_that_claims("ViT-B-32/openai") is OPENCLIP
    with pytest.raises(ModelError, match="of the kind 'x', and this installation knows"):
        embedders.family_of({"kind": "x"})


def test_a_kind_is_registered_once() -> None:
    embedders.register(FAKE_FAMILY)  # the same again
    with pytest.raises(ConfigurationError, match="a family of the kind 'fake' already"):
        embedders.register(FakeFamily())
