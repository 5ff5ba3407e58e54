"""What most commands import: seconds of a processor that a whole process spends first.

Imported once by the process that :mod:`tests.helpers.forks` forks, and by nothing else.
"""

import contextlib

import pipeline.cli
from pipeline.errors import MissingExtra

with contextlib.suppress(MissingExtra):
    import pipeline.embedders.openclip.embedder
import pipeline.ingest.worker
import pipeline.modalities
import pipeline.postgres.connections
import pipeline.postgres.migrate
import pipeline.search
import pipeline.spaces  # noqa: F401
