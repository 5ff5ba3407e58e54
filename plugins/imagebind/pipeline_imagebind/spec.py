"""How the model is named, and the licence under which it may be used. No torch."""

from pathlib import Path

from pipeline.embedders.licences import check_accepted
from pipeline.errors import ModelError
from pipeline.references import expanded

PREFIX = "imagebind:"
LICENCE = "CC-BY-NC-SA-4.0"  # by its name in the list of SPDX


def check_licence() -> None:
    """Raises ConfigurationError: whoever runs this did not say that they accept the licence."""
    check_accepted(LICENCE, "ImageBind's licence forbids commercial use of it and of its weights")


def weights_of(spec: str) -> Path:
    """The checkpoint that a spec names.

    Raises:
        ModelError: it names none, or there is none.
    """
    place = spec.removeprefix(PREFIX)
    if not place:
        raise ModelError(
            f"{spec!r} names no checkpoint; write {PREFIX}/path/to/imagebind_huge.pth, which is "
            "downloaded by hand (see the package's README)"
        )
    file = expanded(place)
    if not file.is_file():
        raise ModelError(
            f"the checkpoint {file} does not exist; check the path, nothing is downloaded"
        )
    return file
