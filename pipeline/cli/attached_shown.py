"""What is attached, and what would be, as tables and JSON."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from pipeline.cli.output import note, print_json, print_table, say, shortened

if TYPE_CHECKING:
    from pipeline.sources.attached_preview import Preview
    from pipeline.sources.locations import LocationPreview

_COLUMNS = (
    "name",
    "of",
    "capture",
    "rows",
    "source items",
    "pending",
    "failed",
    "synced",
    "problem",
)


def list_attached(*, as_json: bool) -> None:
    """``attached_source_status``."""
    from pipeline.postgres.database import Database
    from pipeline.references import redact
    from pipeline.settings import Settings
    from pipeline.sources.attached import attached_sources

    with Database.of(Settings.load()).open() as connection:
        found = attached_sources(connection)
    if as_json:
        print_json([asdict(source) for source in found])
        return
    if not found:
        note("nothing is attached: pipeline attach TABLE")
        return
    rows = [
        (
            source.name,
            redact(source.of),
            source.capture,
            source.rows,
            source.source_items,
            source.pending,
            source.failed,
            "never" if source.synced_at is None else f"{source.synced_at:%Y-%m-%d %H:%M}",
            shortened(source.problem or "needs a sync") if source.needs_sync else "",
        )
        for source in found
    ]
    print_table(None, _COLUMNS, rows, right=("rows", "source items", "pending", "failed"))
    if any(source.needs_sync for source in found):
        note("next: pipeline sync")


def show_preview(seen: "Preview", *, as_json: bool) -> None:
    """The view, the triggers and how many rows, of which nothing was made."""
    from pipeline.references import redact

    if as_json:
        print_json(asdict(seen))
        return
    say(f"{seen.name}: key {', '.join(seen.key)}, capture {seen.capture}")
    print("\nwhat source items hold:\n")
    for line in seen.view.split("\n"):
        say(line)
    print()
    say(f"its items: {seen.items_view}")
    print()
    for trigger in seen.triggers:
        say(f"{trigger};")
    print(f"\n{seen.rows} rows give {sum(seen.source_items.values())} source items:")
    print_table(None, ("source", "source items"), sorted(seen.source_items.items()),
                right=("source items",))  # fmt: skip
    for one in seen.examples:
        shown = shortened(redact(one.content_ref), 80)
        say(f"{one.source} {one.source_key}: {shown} {json.dumps(one.metadata, default=str)}")
    note("nothing was attached; without --dry-run it is")


def show_location_preview(seen: "LocationPreview", *, as_json: bool) -> None:
    """How many files or objects there are of each modality, and some of them."""
    from pipeline.references import redact

    if as_json:
        print_json(asdict(seen))
        return
    say(f"{seen.name}: {redact(seen.location)}")
    print(f"\n{sum(seen.source_items.values())} source items:")
    print_table(None, ("modality", "source items"), sorted(seen.source_items.items()),
                right=("source items",))  # fmt: skip
    for example in seen.examples:
        say(example)
    if seen.skipped:
        note(f"{seen.skipped} files were left out: hidden, excluded, or of no known modality")
    for problem in seen.problems:
        note(f"pipeline: {problem}")
    note("nothing was attached; without --dry-run it is")
