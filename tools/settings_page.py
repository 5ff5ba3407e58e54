"""Writes docs/settings.md from ``Settings``: ``python tools/settings_page.py``. A test compares."""

import inspect
import re
import types
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pipeline.setting_names import OTHERS, PREFIX, variables_of
from pipeline.settings import Settings, names

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
_HEAD = """# Settings

A flag of a command wins over the environment, the environment over the file, the file over the
default. The file is `pipeline.toml` in the current folder, or the one that `PIPELINE_CONFIG`
names; its keys are the names below without `PIPELINE_`, in lower case (`max_attempts = 7`). In the
current folder it is read only if nobody else may write it. `pipeline settings` prints every value
and where it comes from, without passwords. A misspelt name is warned of, with the one that is near.

This page is written by `tools/settings_page.py`.
"""
_REST = """
## Read before there are settings

| variable | for |
|---|---|
| `PIPELINE_CONFIG` | the file of settings |
| `PIPELINE_LOG_FORMAT`, `PIPELINE_LOG_LEVEL` | as `--log-format` and `--log-level` |
| `PIPELINE_IMPORT_URL` | as `--from-url` of `pipeline space import` |
| `NO_COLOR`, `FORCE_COLOR` | no colour on a terminal; colour where stdout is none |
"""


def page() -> str:
    """The whole page."""
    assert all(f"`{PREFIX}{name}`" in _REST for name in OTHERS)
    groups = _groups()
    schema = Settings.model_json_schema()["properties"]
    lines = [_HEAD]
    for field, name in zip(Settings.model_fields, names(), strict=True):
        if field in groups:
            lines += [
                f"\n## {groups[field]}\n",
                "| setting | for | default | takes |",
                "|---|---|---|---|",
            ]
        info = Settings.model_fields[field]
        variables = ", ".join(f"`{variable}`" for variable in variables_of(name))
        assert info.description, f"{field} has no description"
        # Under whichever of its aliases the schema has it.
        limits = next(schema[key] for key in (field, *variables_of(name)) if key in schema)
        takes = _takes(info.annotation, limits)
        lines.append(f"| {variables} | {info.description} | {_default(info.default)} | {takes} |")
    return "\n".join(lines) + "\n" + _REST


def _groups() -> dict[str, str]:
    """The comments between the settings, by the field that follows."""
    pairs = re.findall(r"\n    # (.+)\n    (\w+):", inspect.getsource(Settings))
    return {field: comment[0].upper() + comment[1:] for comment, field in pairs}


def _default(value: Any) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "`on`" if value else "`off`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _takes(annotation: Any, limits: dict[str, Any]) -> str:
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{one}`" for one in get_args(annotation))
    if annotation is bool:
        return "`on`, `off`"
    if get_origin(annotation) is tuple:
        return "a list"
    if annotation not in (int, float):
        return "text" if not isinstance(annotation, types.UnionType) else "text, or nothing"
    least = limits.get("minimum", limits.get("exclusiveMinimum"))
    above = "above " if "exclusiveMinimum" in limits else "from "
    most = f" to {limits['maximum']:g}" if "maximum" in limits else ""
    return f"{'a whole number' if annotation is int else 'a number'} {above}{least:g}{most}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
