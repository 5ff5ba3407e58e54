"""What other libraries' documents and nodes say of an item."""

from typing import Any

from pipeline.search.results import Neighbour

# Said to who would have documents embedded by what is for queries.
DOCUMENTS = (
    "documents are embedded by an ingestion: INSERT them into source_items, or run `pipeline add`; "
    "these embeddings are of queries alone"
)


def described(found: Neighbour) -> dict[str, Any]:
    """The item's metadata, and beside it what it is and how near."""
    return {
        **found.document.metadata,
        "modality": str(found.document.modality),
        "source_id": found.source_id,
        "part": found.part,
        "similarity": found.similarity,
        "score": found.score,
    }
