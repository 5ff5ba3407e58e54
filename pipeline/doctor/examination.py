"""Everything that can be wrong with a database of ours, each with the command that mends it.

Read-only, and quick on large tables: norms are taken of a sample, counts where a count is needed.
A new check is a module here and a line in :data:`OF_A_SPACE`.
"""

from collections.abc import Callable, Iterator

from pipeline import spaces
from pipeline.doctor import installation
from pipeline.doctor.attached import attached
from pipeline.doctor.bloat import bloat
from pipeline.doctor.check import Check
from pipeline.doctor.coverage import coverage
from pipeline.doctor.database_settings import settings_of_database
from pipeline.doctor.dead_rows import dead_rows
from pipeline.doctor.index import index
from pipeline.doctor.loopback import loopback
from pipeline.doctor.missed_changes import missed_changes
from pipeline.doctor.model import check_model
from pipeline.doctor.norms import norms
from pipeline.doctor.paused import paused
from pipeline.doctor.probes import probes
from pipeline.doctor.recall import recall
from pipeline.doctor.retired import retired_spaces
from pipeline.doctor.rights import rights
from pipeline.doctor.row_security import row_security
from pipeline.doctor.standby import standby
from pipeline.doctor.statistics import statistics
from pipeline.doctor.unsupported import unsupported
from pipeline.errors import DatabaseError
from pipeline.postgres.connections import Connection
from pipeline.postgres.database import Database
from pipeline.postgres.reconnect import is_temporary
from pipeline.settings import Settings
from pipeline.spaces import Space

# In the order in which they are shown.
OF_A_SPACE: tuple[Callable[[Connection, Space], Iterator[Check]], ...] = (
    index,
    recall,
    norms,
    coverage,
    statistics,
    probes,
    dead_rows,
    bloat,
)


def examine(settings: Settings, *, model: bool = False) -> list[Check]:
    """Every check that makes sense; one that cannot be made keeps those after it from running.

    Args:
        model: whether to load the active space's model and check what it computes here, too.

    Raises:
        DatabaseError: it is out of reach for now.
    """
    database = Database.of(settings)
    try:
        connection = database.connect("pipeline doctor")
    except DatabaseError as exc:
        if is_temporary(exc):
            raise
        return [Check("server", False, str(exc))]
    with connection:
        results = [installation.server(connection)]
        results += standby(connection)
        if results[0].ok:
            results.append(installation.reading(connection, database))
        if results[-1].ok:
            results.append(installation.migrations(connection, database))
        if results[-1].ok:
            results.append(installation.installed_sql(connection))
        old = list(installation.pgvector(connection))
        if not results[-1].ok:
            return [*results, *old]
        results += old
        results += settings_of_database(connection)
        results += rights(connection)
        results += row_security(connection)
        results += loopback(connection)
        active = spaces.find_active(connection)
        if active is None:
            found = Check("space", False, "no space is active", "pipeline migrate")
            return [*results, found]
        results.append(Check("space", True, f"{active.name} is active ({active.model})"))
        results += paused(connection)
        results += unsupported(connection)
        results += missed_changes(connection)
        results += attached(connection)
        results += retired_spaces(connection)
        for examine_space in OF_A_SPACE:
            results += examine_space(connection, active)
        if model:
            results += check_model(connection, active, settings.device)
        return results
