"""Whether source items changed without their triggers."""

from collections.abc import Iterator

from pipeline.doctor.check import Check
from pipeline.postgres.connections import Connection
from pipeline.postgres.rights import may
from pipeline.postgres.row_security import is_kept_from_rows
from pipeline.sources.sync import sync


def missed_changes(connection: Connection) -> Iterator[Check]:
    if not may(connection, "ingest_jobs", "SELECT"):
        return  # for who may embed
    if is_kept_from_rows(connection):
        return  # row_security.py says so; what is hidden would be taken for gone
    found = sync(connection, mend=False)
    if not found:
        yield Check("missed changes", True, "every change of source_items was seen")
    else:
        said = f"{found}, unseen by the triggers"
        yield Check("missed changes", False, said, "pipeline sync, then pipeline ingest")
