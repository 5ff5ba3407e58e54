"""Events of object stores, line by line: each leads to one look at what it names."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

from pipeline.postgres.connections import Connection
from pipeline.settings import Settings
from pipeline.sources.events import UnknownMessage, references_of
from pipeline.sources.locations.hints import sync_objects
from pipeline.sources.locations.location import (
    LocationReport,
    attached_location,
    attached_locations,
)
from pipeline.sources.locations.owned import location_of

BATCH = 1_000
# People are shown some of them, and told how many there are.
SHOWN = 5


@dataclass
class EventsReport:
    """What became of events.

    Attributes:
        messages: lines that held one.
        elsewhere: objects that lie in no attached location, or not in that which was named.
        unknown: messages that nothing was made of.
        said: of some of these, which and why.
        synced: by name of the location.
    """

    messages: int = 0
    elsewhere: int = 0
    unknown: int = 0
    said: list[str] = field(default_factory=list)
    synced: dict[str, LocationReport] = field(default_factory=dict)

    @property
    def is_well(self) -> bool:
        """Whether ``source_items`` says what was seen; unknown messages are no matter of it."""
        return all(report.is_well for report in self.synced.values())


def sync_by_events(
    connection: Connection, lines: Iterable[str], settings: Settings, name: str | None = None
) -> EventsReport:
    """Look at the objects that messages name, a message a line; what they say happened is not
    believed.

    Args:
        connection: outside a transaction.
        name: of this location alone; None: of each that is attached.

    Raises:
        ConfigurationError: there is no such location.
    """
    report = EventsReport()
    if name is not None:
        attached_location(connection, name)
    numbered = enumerate(lines, 1)
    while some := list(islice(numbered, BATCH)):
        references = [one for number, line in some for one in _read(number, line, report)]
        _sync(connection, list(dict.fromkeys(references)), settings, name, report)
    return report


def _read(number: int, line: str, report: EventsReport) -> list[str]:
    if not line.strip():
        return []
    report.messages += 1
    try:
        return references_of(line)
    except UnknownMessage as exc:
        report.unknown += 1
        if len(report.said) < SHOWN:
            report.said.append(f"line {number}: {exc}")
        return []


def _sync(
    connection: Connection,
    references: list[str],
    settings: Settings,
    name: str | None,
    report: EventsReport,
) -> None:
    locations = [one for one in attached_locations(connection) if name in {None, one.name}]
    keys: dict[str, list[str]] = defaultdict(list)
    for reference in references:
        its = location_of(reference, locations)
        if its is None:
            report.elsewhere += 1
        else:
            keys[its.name].append(reference)
    for location, its_keys in keys.items():
        done = sync_objects(connection, location, its_keys, settings)
        so_far = report.synced.setdefault(location, LocationReport())
        report.synced[location] = so_far + done
