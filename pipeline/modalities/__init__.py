"""Modalities: what content is, how it is recognised, decoded and cut into parts.

A new one is a module here with one object, and a line in :data:`_BUILT_IN`; or an object of another
package's, by an entry point (``pipeline.plugins``) or handed to :func:`register`. Nothing outside
this room decides by a modality's name: what others need to know is an attribute of its object, or
of its row in ``known_modalities``.
"""

import re
from collections.abc import Iterable, Sequence

from pipeline.errors import ConfigurationError
from pipeline.modalities.audio import AUDIO
from pipeline.modalities.base import (
    Decoded,
    Encoder,
    Input,
    Modality,
    Part,
    Reader,
    ReadOptions,
    Role,
    at_least_one,
)
from pipeline.modalities.depth import DEPTH
from pipeline.modalities.document import DOCUMENT
from pipeline.modalities.image import IMAGE
from pipeline.modalities.imu import IMU
from pipeline.modalities.names import ModalityType, allow
from pipeline.modalities.text import TEXT
from pipeline.modalities.thermal import THERMAL
from pipeline.modalities.video import VIDEO
from pipeline.plugins import PlugIns
from pipeline.references import suffix_of

__all__ = [
    "AUDIO",
    "DEPTH",
    "DOCUMENT",
    "IMAGE",
    "IMU",
    "TEXT",
    "THERMAL",
    "VIDEO",
    "Decoded",
    "Encoder",
    "Input",
    "Modality",
    "ModalityType",
    "Part",
    "ReadOptions",
    "Reader",
    "Role",
    "accepting",
    "at_least_one",
    "check_name",
    "find",
    "get",
    "is_typed",
    "known_names",
    "of_reference",
    "of_suffix",
    "ordered",
    "register",
    "registered",
    "sniffed",
]

_BUILT_IN: tuple[Modality, ...] = (TEXT, IMAGE, AUDIO, VIDEO, DOCUMENT, DEPTH, THERMAL, IMU)
# As known_modalities has it: a name is part of the names of tables and indexes.
_PLAIN = re.compile("[a-z][a-z0-9_]{0,19}")
# As known_modalities has it.
_MEDIA = ("text", "image", "audio", "video", "application")
_SUFFIX = re.compile(r"\.[a-z0-9_]+")
_REGISTERED: dict[str, Modality] = {modality.name: modality for modality in _BUILT_IN}


def register(modality: Modality) -> None:
    """Make a modality known to this process. The same object again changes nothing.

    Raises:
        ConfigurationError: another one has its name or one of its suffixes, the name or a suffix
            is not plain, or its media are none that the database knows.
    """
    if not _PLAIN.fullmatch(modality.name):
        raise ConfigurationError(
            f"{modality.name!r} cannot name a modality; use at most 20 lower-case letters, digits "
            "and _, such as audio"
        )
    if _REGISTERED.get(modality.name, modality) is not modality:
        raise ConfigurationError(f"there is a modality {modality.name!r} already")
    if modality.media not in _MEDIA:
        raise ConfigurationError(
            f"the media of {modality.name!r} are {modality.media!r}, not one of {', '.join(_MEDIA)}"
        )
    for suffix in sorted(modality.suffixes):
        if not _SUFFIX.fullmatch(suffix):
            raise ConfigurationError(
                f"{suffix!r} is no suffix of {modality.name!r}; they look like .jpg, in lower case"
            )
        if (other := of_suffix(suffix)) not in (None, modality):
            raise ConfigurationError(f"the suffix {suffix!r} is that of {other.name!r} already")
    _REGISTERED[modality.name] = modality
    allow(modality.name)


def unregister(name: str) -> None:
    """Forget a modality that was registered; for tests."""
    if any(modality.name == name for modality in _BUILT_IN):
        raise ConfigurationError(f"the modality {name!r} comes with the package")
    _REGISTERED.pop(name, None)


_PLUG_INS = PlugIns("pipeline.modalities", register)


def registered() -> list[Modality]:
    """Every modality that this process can decode, those of the package first."""
    return list(_known().values())


def _known() -> dict[str, Modality]:
    """By name, those of plug-ins among them."""
    _PLUG_INS.load()
    return _REGISTERED


def find(name: str) -> Modality | None:
    """The modality of that name; None: this process cannot decode it."""
    return _known().get(name)


def get(name: str) -> Modality:
    """The modality of that name.

    Raises:
        ConfigurationError: this process cannot decode it.
    """
    if (found := find(name)) is None:
        raise ConfigurationError(
            f"this installation cannot decode the modality {name!r}; it knows {', '.join(_known())}"
        )
    return found


def known_names() -> tuple[str, ...]:
    """Every name that an item may have, as far as this process knows."""
    return tuple(dict.fromkeys([*_known(), *ModalityType]))


def check_name(name: str) -> str:
    """The same name.

    Raises:
        ConfigurationError: there is no such modality; naming those that there are.
    """
    if name not in known_names():
        raise ConfigurationError(
            f"there is no modality {name!r}; there are: {', '.join(known_names())}"
        )
    return str(name)


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Names as people see them in tables: in the order of :func:`known_names`, others last."""
    places = {name: place for place, name in enumerate(known_names())}
    return tuple(sorted(names, key=lambda name: (places.get(name, len(places)), name)))


def is_typed(name: str) -> bool:
    """Whether people type queries of it: what the cache of query texts holds."""
    return name == TEXT.name


def of_suffix(suffix: str) -> Modality | None:
    """Whose files end so; None: nobody's."""
    return next((m for m in _known().values() if suffix in m.suffixes), None)


def of_reference(reference: str) -> Modality:
    """What a reference to something elsewhere stands for, by its ending; an image without one."""
    return of_suffix(suffix_of(reference)) or IMAGE


def sniffed(head: bytes, among: Sequence[str]) -> Modality | None:
    """What content is that begins so, of the modalities named."""
    return next((m for m in _known().values() if m.name in among and m.sniff(head)), None)


def accepting(value: object) -> Modality | None:
    """Whose decoded content a Python object is."""
    return next((m for m in _known().values() if m.accepts(value)), None)
