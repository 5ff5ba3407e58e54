"""``pipeline ingest --dry-run``: what is due, and how long it would take."""

from typing import TYPE_CHECKING

from pipeline.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from pipeline.ingest.forecast import Forecast


def show_forecast(space: str | None, *, as_json: bool) -> None:
    """Print it; nothing is loaded, claimed or asked of a server."""
    from pipeline.ingest.forecast import forecast
    from pipeline.postgres.database import Database
    from pipeline.postgres.rights import EMBED
    from pipeline.settings import Settings
    from pipeline.spaces import find_space

    with Database.of(Settings.load()).open(needs=EMBED) as connection:
        found = forecast(connection, find_space(connection, space))
    if as_json:
        print_json(found.as_dict())
    else:
        _print(found)


def _print(found: "Forecast") -> None:
    if not found.expected:
        print(f"nothing due in the space {found.space}")
        return
    print_table(
        None,
        ("modality", "due", "later", "rows/min", "minutes"),
        [
            (one.modality, one.due, one.later, _shown(one.per_minute), _shown(one.minutes))
            for one in found.expected
        ],
        right=("due", "later", "rows/min", "minutes"),
    )
    if found.minutes is None:
        print("how long it takes is not known: of a modality too few rows were embedded yet")
    else:
        print(f"about {found.minutes:,.1f} minutes, at the rate of the last rows of each")
    if found.is_remote:
        print(_of_server(found))
    if found.pause is not None:
        note(f"{found.pause}; nothing is claimed before `{found.pause.end}`")
    note("nothing was embedded; without --dry-run it is")


def _of_server(found: "Forecast") -> str:
    said = f"about {found.tokens:,} tokens for the texts, as estimated here"
    if found.uncounted:
        said += f"; of {found.uncounted:,} other rows only the model's server knows how many"
    return f"{said}; its prices are not known here"


def _shown(number: float | None) -> str:
    return "not known" if number is None else f"{number:,.1f}"
