"""Where in a film, a sound or a document a found item is."""

from collections.abc import Mapping

from pipeline.jobs import NOTES
from pipeline.modalities import moments
from pipeline.modalities.moments import Moment
from pipeline.search.places import is_inline
from pipeline.search.results import MultimodalDocument


def moment_of(document: MultimodalDocument) -> Moment | None:
    """That of an item; None: it is the whole of something, or a part of a text, whose start and
    end are characters."""
    notes = document.metadata.get(NOTES)
    if is_inline(document) or not isinstance(notes, Mapping):
        return None
    return moments.moment_of(notes)
