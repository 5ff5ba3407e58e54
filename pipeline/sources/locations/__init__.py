"""Folders, and prefixes of object stores, as attached sources: declared once, followed for ever.

One engine, whatever delivers: a listing gives every file or object with its size, etag and time of
change, and is compared with what was seen of them last and with ``source_items``. What is new is
added, what changed is loaded again, what was renamed moves with its vector, and what is gone goes,
once the listing was whole. ``pipeline attach``, ``sync`` and ``add --sync`` all come here. Events
of object stores name keys, which are looked at one by one.
"""

from pipeline.sources.locations.attach import attach_location, attached_at, define_anew
from pipeline.sources.locations.due import locations_due
from pipeline.sources.locations.hints import sync_objects
from pipeline.sources.locations.location import Location, LocationReport
from pipeline.sources.locations.owned import given_to_their_locations
from pipeline.sources.locations.preview import LocationPreview, preview_location
from pipeline.sources.locations.sync import sync_location

__all__ = [
    "Location",
    "LocationPreview",
    "LocationReport",
    "attach_location",
    "attached_at",
    "define_anew",
    "given_to_their_locations",
    "locations_due",
    "preview_location",
    "sync_location",
    "sync_objects",
]
