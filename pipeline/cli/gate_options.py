"""What ``pipeline space activate`` looks at before it lets a space in."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.output import wrong

if TYPE_CHECKING:
    from pipeline.quality.gate import Gate

MinRecall = Annotated[
    float, typer.Option(min=0, max=1, help="Gate: least recall@10 of its indexes.")
]
Pairs = Annotated[
    str | None,
    typer.Option(help="Gate: metadata key to compare retrieval by.", show_default=False),
]
MaxLoss = Annotated[
    float, typer.Option(min=0, max=1, help="Gate: how much lower R@10 by --pairs may be.")
]
GeneralPairs = Annotated[
    str | None,
    typer.Option(
        help="Gate: a second key, of pairs from everywhere; those of --pairs must gain then.",
        show_default=False,
    ),
]
MaxGeneralLoss = Annotated[
    float,
    typer.Option(min=0, max=1, help="Gate: share of its R@10 by --general-pairs it may lose."),
]


def gate_of(
    min_recall: float,
    pairs: str | None,
    max_loss: float,
    general_pairs: str | None,
    max_general_loss: float,
) -> "Gate":
    """The gate that the options ask for; what means nothing together is wrong usage."""
    from pipeline.quality.gate import Gate

    if general_pairs is not None and pairs is None:
        wrong("--general-pairs", "it stands beside --pairs, whose pairs are to gain")
    return Gate(min_recall, pairs, max_loss, general_pairs, max_general_loss)
