"""What every setting is, and where its value comes from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import SecretStr

from pipeline.setting_names import variables_of
from pipeline.settings import Settings, names, set_in


@dataclass(frozen=True, slots=True)
class SettingOrigin:
    """A setting as it is now.

    Attributes:
        name: as in ``pipeline.toml``.
        variable: the environment variable that sets it.
        value: as JSON has it; without its secrets.
        source: where the value comes from.
        where: the variable, or the file with its key; None: the default.
    """

    name: str
    variable: str
    value: Any
    source: Literal["environment", "file", "default"]
    where: str | None


def origins(settings: Settings, shown: Callable[[str], str]) -> Iterator[SettingOrigin]:
    """Every setting, in the order of their declaration.

    Args:
        shown: gives a secret as it may be shown.
    """
    for field, name in zip(Settings.model_fields, names(), strict=True):
        value = getattr(settings, field)
        places = set_in(field)
        is_variable = bool(places) and ": " not in places[0]
        yield SettingOrigin(
            name,
            places[0] if is_variable else variables_of(field)[0],
            shown(value.get_secret_value()) if isinstance(value, SecretStr) else _plain(value),
            "environment" if is_variable else "file" if places else "default",
            places[0] if places else None,
        )


def bounds(field: str) -> tuple[int, int]:
    """The least and the most that a setting may be, which has both."""
    limits = Settings.model_json_schema()["properties"][field]
    return limits["minimum"], limits["maximum"]


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)
