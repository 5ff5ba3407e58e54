"""``--modality`` of ``pipeline add``: what files are whose endings do not tell."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.output import wrong

if TYPE_CHECKING:
    from pipeline.modalities import Modality

ToldModality = Annotated[
    str | None,
    typer.Option(
        "--modality",
        help="What the files are where their endings do not tell, such as depth.",
        show_default=False,
    ),
]


def told_modality(name: str | None, *, sync: bool) -> "Modality | None":
    """The modality that was named; what cannot be meant is wrong usage."""
    from pipeline import modalities

    if name is None:
        return None
    if sync:
        wrong("--modality", "a folder that is followed goes by the endings of its files")
    known = {m.name: m for m in modalities.registered() if not m.inline}
    if name not in known:
        wrong("--modality", f"{name!r} is not one of {', '.join(known)}")
    return known[name]
