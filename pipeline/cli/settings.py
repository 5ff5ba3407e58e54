"""``pipeline settings``: what is set, and where."""

from dataclasses import asdict
from typing import Annotated

import typer

from pipeline.cli.output import note, print_json, print_table
from pipeline.errors import ConfigurationError


def settings(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """Print every setting with its value, and where that comes from.

    Passwords are not shown. A flag of a command wins over all of them.

    Example: pipeline settings --json
    """
    from pipeline import config_file
    from pipeline.setting_origins import origins
    from pipeline.settings import Settings

    found = list(origins(Settings.load(), _shown))
    if as_json:
        print_json([asdict(setting) for setting in found])
        return
    print_table(
        None,
        ("setting", "value", "from"),
        [(one.name, _cell(one.value), one.where or "default") for one in found],
    )
    file = config_file.path()
    note(f"the file {file} {'is read' if file.is_file() else 'would be read; there is none'}")


def _shown(url: str) -> str:
    from pipeline.postgres.urls import shown_url

    try:
        return shown_url(url)
    except ConfigurationError:
        return "***"  # it cannot be read, so nobody knows where its password is


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, bool):
        return "on" if value else "off"
    return "-" if value is None else str(value)
