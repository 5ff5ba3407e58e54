"""The files of ``sql/`` that are installed: which, in which order, and with which names in them.

``@schema@`` is the schema of our tables and ``@vector@`` that of pgvector, both as quoted names,
like ``@extschema@`` in an extension's script. PostgreSQL's own things are found by a search path of
``pg_catalog`` alone, so that nothing in a schema where others may create can take their place.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.errors import ConfigurationError
from pipeline.postgres.carried import carried

# What a file makes may use what those before it made. Bodies of functions are not looked at while
# they are installed, so those of one folder may come in any order.
FILES = (
    "schema/extensions.sql",
    "schema/items_table.sql",
    "functions/*.sql",
    "schema/updated_at.sql",
    "schema/queue_triggers.sql",
    "schema/paused_jobs.sql",
    "schema/deleted_items.sql",
    "schema/compact_triggers.sql",
    "schema/derived_items.sql",
    "schema/attached_sources_guard.sql",
    "schema/space_items.sql",
    "schema/views/*.sql",
    "schema/function_rights.sql",
    "schema/table_rights.sql",
    "schema/full_text_index.sql",
    "schema/search_defaults.sql",
)
GRANTS = "schema/grants.sql"
ROLE_FILES = (
    "schema/roles.sql",
    "schema/loopback_login.sql",
    "schema/items_grants.sql",
    GRANTS,
)

_PLACEHOLDER = re.compile("@(schema|vector)@")
# The names stand within quotes, dollar quotes and formats as well, where these mean something. The
# first four are those that PostgreSQL refuses in the name of an extension's schema.
_UNSAFE = frozenset("\"'$\\%")


@dataclass(frozen=True, slots=True)
class Schemas:
    """Two schemas by their names, quoted where they need it."""

    schema: str
    vector: str

    def __post_init__(self) -> None:
        for name in (self.schema, self.vector):
            if _UNSAFE & set(name.removeprefix('"').removesuffix('"')):
                raise ConfigurationError(
                    f"the schema {name} cannot be installed into: its name has one of "
                    f"{' '.join(sorted(_UNSAFE))} in it; use another schema"
                )

    @property
    def names(self) -> tuple[str, ...]:
        """As the catalogue has them, without quotes."""
        return tuple(
            name.removeprefix('"').removesuffix('"') for name in (self.schema, self.vector)
        )


def files_to_install(schemas: Schemas, *, roles: bool) -> dict[str, str]:
    """File -> its text with the placeholders filled in, in the order of installation."""
    patterns = FILES + ROLE_FILES if roles else FILES
    folder = carried("sql")
    return {
        path.relative_to(folder).as_posix(): fill_in(path.read_text(encoding="utf-8"), schemas)
        for pattern in patterns
        for path in sorted(folder.glob(pattern))
    }


def file_to_uninstall(schemas: Schemas, name: str) -> str:
    """One file of ``sql/uninstall/``, ready to run."""
    path = carried("sql") / "uninstall" / name
    return fill_in(path.read_text(encoding="utf-8"), schemas)


def digest(texts: Mapping[str, str]) -> str:
    """SHA-256 over the files' names and texts, in hexadecimal."""
    parts = (part for item in texts.items() for part in item)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def fill_in(text: str, schemas: Schemas) -> str:
    """The text with names instead of placeholders."""
    return _PLACEHOLDER.sub(lambda match: str(getattr(schemas, match[1])), text)
