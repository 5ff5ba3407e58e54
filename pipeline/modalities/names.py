"""The names that a modality may have; each modality has its own partition and index."""

from enum import StrEnum

# What is said of a modality that somebody registered, beside the eight below.
_REGISTERED: set[str] = set()


class ModalityType(StrEnum):
    """What a vector stands for.

    The members are the names that every database knows. A modality that is registered
    (``pipeline.modalities.register``) has no member, and ``ModalityType("its name")`` gives it.
    """

    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"
    DOCUMENT = "document"
    DEPTH = "depth"
    THERMAL = "thermal"
    IMU = "imu"

    @classmethod
    def _missing_(cls, value: object) -> "ModalityType | None":
        if value not in _REGISTERED:
            return None
        name = str(value)
        member = str.__new__(cls, name)
        member._name_, member._value_ = name.upper(), name
        return cls._value2member_map_.setdefault(name, member)  # type: ignore[return-value]


def allow(name: str) -> None:
    """Let ``ModalityType`` take this name, too."""
    _REGISTERED.add(name)
