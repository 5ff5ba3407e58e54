"""What comes with the package and is no Python: the migrations and the SQL."""

from importlib.resources import as_file, files
from pathlib import Path

from pipeline.errors import ConfigurationError


def carried(name: str) -> Path:
    """The folder ``migrations`` or ``sql``: in the wheel, else in the checkout beside us."""
    with as_file(files("pipeline") / f"_{name}") as packaged:
        if packaged.is_dir():
            return packaged
    checkout = Path(__file__).resolve().parents[2] / name
    if checkout.is_dir():
        return checkout
    raise ConfigurationError(f"this installation lacks its {name}; reinstall the package")
