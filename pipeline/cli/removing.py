"""What the commands that remove rows have in common: the flag, the brake, and what they say."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.output import note

if TYPE_CHECKING:
    from pipeline.settings import Settings
    from pipeline.sources.removal import Brake, Refusal

AllowMassDelete = Annotated[
    bool,
    typer.Option(
        "--allow-mass-delete",
        help="Remove also more than a tenth of a source (PIPELINE_MASS_DELETE_SHARE).",
    ),
]


def brake_of(settings: "Settings", *, released: bool) -> "Brake":
    """The brake that the settings and the flag make."""
    from pipeline.sources.removal import Brake

    return Brake(settings.mass_delete_share, released)


def tell_refused(refused: Sequence["Refusal"]) -> None:
    """On stderr, one line a source."""
    for refusal in refused:
        note(f"pipeline: {refusal}")


def as_dicts(refused: Sequence["Refusal"]) -> list[dict[str, Any]]:
    """For JSON."""
    return [{"source": r.source, "going": r.going, "there": r.there} for r in refused]
