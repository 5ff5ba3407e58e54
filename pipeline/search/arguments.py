"""Arguments of whoever searches from Python, checked before a database is asked."""

import operator
from collections.abc import Sequence

import numpy as np

from pipeline import modalities
from pipeline.errors import ConfigurationError
from pipeline.modalities import ModalityType

Modality = ModalityType | str


def check_modality(modality: Modality | None) -> str | None:
    """The modality's name, or an error that lists the known ones."""
    return None if modality is None else modalities.check_name(str(modality))


def check_modalities(modality: Modality | Sequence[Modality] | None) -> tuple[str, ...] | None:
    """The names of one or several; None: of all. Raises ConfigurationError."""
    if modality is None or isinstance(modality, str):
        name = check_modality(modality)
        return None if name is None else (name,)
    names = tuple(modalities.check_name(str(one)) for one in modality)
    if not names:
        raise ConfigurationError("modality= is empty; leave it out for all")
    return names


def check_number(
    name: str, value: object, least: int | None = None, most: int | None = None
) -> int:
    """A whole number of any integer type, NumPy's too.

    Raises:
        ConfigurationError: it is none, or out of bounds; a boolean is none.
    """
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]  # which is what is asked
    except TypeError:
        raise ConfigurationError(f"{name} is a whole number, not {value!r}") from None
    if (least is not None and number < least) or (most is not None and number > most):
        raise ConfigurationError(f"{name} is from {least} to {most}, not {number}")
    return number


def check_item(value: object, name: str = "an item") -> int:
    """The number of a stored item, of PostgreSQL's bigint; whether there is one, SQL says.

    Raises:
        ConfigurationError: no item can have it.
    """
    number = check_number(name, value)
    if not -(2**63) <= number < 2**63:
        raise ConfigurationError(f"{name} is a number of 64 bits, not {number}")
    return number
