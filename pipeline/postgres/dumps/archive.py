"""A dump in pg_dump's custom format: what is in it, as pg_restore tells."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline.errors import ConfigurationError, DatabaseError
from pipeline.postgres.dumps.programs import Program, output

_HEADER = re.compile(
    r"^--\n-- Name: (?P<name>.*); Type: (?P<type>[A-Z ]+); Schema: (?P<schema>.*); "
    r"Owner: (?P<owner>.*?)(?:; Tablespace: .*)?\n--\n",
    re.MULTILINE,
)
_NAME = r'(?:"(?:[^"]|"")+"|[^\s",;]+)'
_GRANTEE = re.compile(rf"^(?:GRANT|ALTER DEFAULT PRIVILEGES) .* TO ({_NAME})", re.MULTILINE)
_GRANTOR = re.compile(
    rf"^(?:SET SESSION AUTHORIZATION|ALTER DEFAULT PRIVILEGES FOR ROLE) ({_NAME})", re.MULTILINE
)
_POLICY = re.compile(rf"^CREATE POLICY .*? TO ({_NAME}(?:, {_NAME})*)(?: USING| WITH|;)")
_SETTING = re.compile(rf"^ALTER DATABASE {_NAME} SET (?P<name>{_NAME}) TO (?P<value>.+);$", re.M)
_EXTENSION = re.compile(rf"^CREATE EXTENSION IF NOT EXISTS ({_NAME}) WITH SCHEMA ({_NAME});", re.M)


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a dump and the statements that make it."""

    name: str
    type: str
    schema: str
    owner: str
    statements: str


@dataclass(frozen=True)
class Archive:
    """A dump that can be read by ``program``.

    Attributes:
        listing: its table of contents, a line an entry, as ``pg_restore --use-list`` takes it.
        script: its statements, without the data.
    """

    file: Path
    program: Program
    listing: str
    script: str

    @classmethod
    def read(cls, file: Path, programs: Sequence[Program]) -> "Archive":
        """By the first of these programs that can.

        Raises:
            ConfigurationError: the file is no such dump.
            OSError: it cannot be read.
        """
        with file.open("rb"):
            pass
        problem = ""
        for program in programs:
            try:
                listing = output(program, ["--list", file])
            except DatabaseError as exc:
                problem = problem or str(exc)
                continue
            script = output(program, ["--create", "--schema-only", "--file=-", file])
            return cls(file, program, listing, script)
        raise ConfigurationError(
            f"{file} is no dump that can be read here, as `pipeline db dump` or pg_dump "
            f"--format=custom writes it: {problem}"
        )

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """In the order in which they are restored."""
        found = list(_HEADER.finditer(self.script))
        ends = [header.start() for header in found[1:]] + [len(self.script)]
        return tuple(
            Entry(**header.groupdict(), statements=self.script[header.end() : end])
            for header, end in zip(found, ends, strict=True)
        )

    @property
    def server(self) -> str:
        """The version of the PostgreSQL that it was taken from."""
        found = re.search(r"Dumped from database version: (\S+)", self.listing)
        return found[1] if found else "unknown"

    @property
    def database(self) -> str:
        """The name of the database that it was taken from."""
        return next((e.name for e in self.entries if e.type == "DATABASE"), "")

    @property
    def tables(self) -> int:
        return sum(entry.type == "TABLE" for entry in self.entries)

    @property
    def schemas(self) -> frozenset[str]:
        """Those in which it makes something."""
        made = {entry.name for entry in self.entries if entry.type == "SCHEMA"}
        ours = (e.schema for e in self.entries if e.type not in {"ACL", "COMMENT"})
        return frozenset(made | {schema for schema in ours if schema != "-"})

    @property
    def owners(self) -> frozenset[str]:
        """The roles that its objects belong to, but for what belongs to nobody in particular."""
        kinds = {"ACL", "COMMENT", "DATABASE", "DATABASE PROPERTIES", "DEFAULT ACL", "EXTENSION"}
        owners = {entry.owner for entry in self.entries if entry.type not in kinds}
        return frozenset(owners - {"", "-", "pg_database_owner"})

    @property
    def roles(self) -> frozenset[str]:
        """Those besides the owners that its grants and policies name."""
        found = set()
        for entry in self.entries:
            if entry.type in {"ACL", "DEFAULT ACL"} and not self._is_of_database(entry):
                found |= {*_GRANTEE.findall(entry.statements), *_GRANTOR.findall(entry.statements)}
            elif entry.type == "POLICY" and (policy := _POLICY.match(entry.statements.lstrip())):
                found |= set(re.findall(_NAME, policy[1]))
        return frozenset(_plain(role) for role in found - {"PUBLIC", "DEFAULT", "public"})

    @property
    def extensions(self) -> dict[str, str]:
        """Extension -> the schema that it is in."""
        kinds = (entry.statements for entry in self.entries if entry.type == "EXTENSION")
        found = (_EXTENSION.search(statements) for statements in kinds)
        return {_plain(match[1]): _plain(match[2]) for match in found if match}

    @property
    def settings(self) -> list[tuple[str, str]]:
        """Of the database: the name of each and its value, a SQL literal or several."""
        return [
            (_plain(match["name"]), match["value"])
            for statements in self._of_database({"DATABASE PROPERTIES"})
            for match in _SETTING.finditer(statements)
        ]

    @property
    def rights_on_database(self) -> list[str]:
        """The statements that give and take them, with the name of the database then."""
        return [
            line
            for statements in self._of_database({"ACL"})
            for line in statements.splitlines()
            if line.startswith(("GRANT ", "REVOKE "))
        ]

    def listing_without(self, *kinds: str) -> str:
        """The table of contents without the entries that begin so, as ``EXTENSION - dblink``."""
        kept = (
            line
            for line in self.listing.splitlines()
            if not re.sub(r"^\d+; \d+ \d+ ", "", line).startswith(kinds)
        )
        return "".join(f"{line}\n" for line in kept)

    def _of_database(self, kinds: set[str]) -> Iterator[str]:
        for entry in self.entries:
            if entry.type in kinds and (entry.type != "ACL" or self._is_of_database(entry)):
                yield entry.statements

    @staticmethod
    def _is_of_database(entry: Entry) -> bool:
        return entry.type == "ACL" and entry.name.startswith("DATABASE ")


def _plain(name: str) -> str:
    """A name without its quotes."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
