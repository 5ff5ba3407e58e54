"""The database that a command or an application works on, found once and named once."""

from dataclasses import dataclass, field
from typing import Self

from pipeline.errors import DatabaseError
from pipeline.postgres import revisions
from pipeline.postgres.connections import APPLICATION, Connection, connect
from pipeline.postgres.place import check_place, is_migrated
from pipeline.postgres.requirements import check_server
from pipeline.postgres.rights import READ, Need, hidden, require
from pipeline.postgres.standby import refuse_standby
from pipeline.postgres.urls import shown_url
from pipeline.settings import DEFAULT_SCHEMA, Settings


@dataclass(frozen=True, slots=True)
class Database:
    """Where the data is. Every connection to it is opened here, and says what it is for.

    Attributes:
        url: any form that people write; it may hold a password, so it is not in the ``repr()``.
        schema: where all that is ours is.
    """

    url: str = field(repr=False)
    schema: str = DEFAULT_SCHEMA

    @classmethod
    def of(cls, settings: Settings, *, start: bool = True) -> Self:
        """The configured one, else the embedded server's, which is started if need be."""
        if settings.database_url is not None:
            return cls(settings.database_url.get_secret_value(), settings.database_schema)
        # Late: it needs locks and accounts of POSIX, and who names a database needs neither.
        from pipeline.postgres.embedded import EmbeddedServer

        server = EmbeddedServer(settings.home)
        return cls(server.start() if start else server.url(), settings.database_schema)

    def __str__(self) -> str:
        """As it may appear in a log: without its passwords."""
        return shown_url(self.url)

    def connect(self, purpose: str = APPLICATION) -> Connection:
        """A connection, whatever is in the database.

        Args:
            purpose: shown in ``pg_stat_activity.application_name``.

        Raises:
            DatabaseError: with the next step in its text.
        """
        return connect(self.url, schema=self.schema, role=purpose)

    def open(self, purpose: str = APPLICATION, *, needs: Need = READ) -> Connection:
        """A connection to a database that has our tables.

        Args:
            needs: what is to be done there, of ``rights.py``.

        Raises:
            DatabaseError: it cannot be reached, lacks pgvector or is not migrated to this release,
                this login may not do what is needed, or it is a standby and that writes.
            ConfigurationError: our tables are in another schema.
        """
        connection = self.connect(purpose)
        try:
            if not is_migrated(connection, self.schema):
                check_server(connection)
                if closed := hidden(connection):
                    raise DatabaseError(str(closed))
                check_place(connection, self.schema)
                raise DatabaseError(
                    "the database has no tables of ours yet; run `pipeline migrate`"
                )
            if needs.writes:
                refuse_standby(connection, self.url)
            require(connection, needs)
            revisions.check(connection, self.schema)
        except BaseException:
            connection.close()
            raise
        return connection
