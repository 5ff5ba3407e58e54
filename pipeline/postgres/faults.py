"""Whose fault it is what the database says: the row's, other sessions', or the database's own.

Only a row's own fault costs it an attempt. By classes of SQLSTATE, see "PostgreSQL Error Codes".
"""

import re

import psycopg

from pipeline.errors import DatabaseError

# What is said of one row of a statement: data that does not fit, a constraint (23), a view's check
# (44), a limit such as the length of an index entry (54), a RAISE in somebody's trigger (P0).
_ROW = ("22", "23", "44", "54", "P0")
# Others are in the way, so that the same may succeed in a moment: deadlocks and serialisation (40),
# a statement that somebody cancelled or that took too long, a lock that was not to be had.
_CONFLICT = ("40", "57014", "55P03")
# The database cannot work for now: connections (08), resources such as the disk (53), a server that
# shuts down or starts (57P), files (58), a server that became a standby or is to be only read.
_AWAY = ("08", "53", "57P", "58", "25006")
# Too much at once for the server's memory: not to be waited for, less at once may do.
_TOO_LARGE = "53200"
# What an operator has to mend: credentials (28), databases, schemas, tables and rights that are
# missing (3D, 3F, 42), what is not in a state for it (25, 55, 57), damage (XX001, XX002).
_BROKEN = ("25", "28", "3D", "3F", "42", "55", "57", "XX001", "XX002")

# Options that libpq refuses by themselves, in its words; there is no SQLSTATE for them.
_REFUSED_BY_LIBPQ = re.compile(
    r"invalid \S+ value: |could not match \d+ |invalid port number|invalid integer value"
    r"|invalid when SSL support is not compiled in"
)


def is_of_a_row(exc: BaseException) -> bool:
    """Whether one of the statement's rows is to blame, and a statement without it may succeed."""
    return _is_in(exc, _ROW)


def is_too_large(exc: BaseException) -> bool:
    """Whether a statement of fewer rows may succeed, though none of them is to blame."""
    return _is_in(exc, (_TOO_LARGE,))


def is_conflict(exc: BaseException) -> bool:
    """Whether others are to blame, so that the same may succeed in a moment."""
    return _is_in(exc, _CONFLICT)


def is_away(exc: BaseException) -> bool:
    """Whether the database cannot work for now, so that waiting and connecting again may help."""
    return _is_in(exc, _AWAY) and not is_too_large(exc)


def is_misconfigured(exc: BaseException) -> bool:
    """Whether libpq refuses what it was asked for, so that no server was asked at all."""
    return (
        isinstance(exc, psycopg.OperationalError)
        and exc.sqlstate is None
        and _REFUSED_BY_LIBPQ.search(str(exc)) is not None
    )


def is_of_the_database(exc: BaseException | None) -> bool:
    """Whether the database has failed, or was not reached, so that no row is to blame."""
    while isinstance(exc, DatabaseError) and exc.__cause__ is not None:
        exc = exc.__cause__
    if isinstance(exc, psycopg.OperationalError) and exc.sqlstate is None:
        return True  # no connection
    return exc is not None and (
        isinstance(exc, DatabaseError) or _is_in(exc, (*_CONFLICT, *_AWAY, *_BROKEN))
    )


def _is_in(exc: BaseException, classes: tuple[str, ...]) -> bool:
    return isinstance(exc, psycopg.Error) and (exc.sqlstate or "").startswith(classes)
