"""Who has our roles by having been there before us.

Roles belong to the whole server. Whoever made one beforehand may grant it to anybody, and has its
rights in each database that is migrated later; another database of ours may have members of its
own.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from pipeline.postgres.connections import Connection

logger = logging.getLogger(__name__)

# Roles that the functions of the database act as, and that nobody is to have.
FOR_NOBODY = ("pipeline_loopback",)


@dataclass(frozen=True, slots=True)
class Holder:
    """What somebody holds of a role of ours.

    Attributes:
        role: which one.
        member: who has it, or None: the role can log in by itself.
        may_grant: whether with ADMIN OPTION.
    """

    role: str
    member: str | None
    may_grant: bool

    @property
    def is_risk(self) -> bool:
        """Beyond a login that was given the role, which is what it is for."""
        return self.member is None or self.may_grant or self.role in FOR_NOBODY

    @property
    def said(self) -> str:
        if self.member is None:
            return f"{self.role} can log in"
        return f"{self.member} {'may grant' if self.may_grant else 'has'} {self.role}"

    def cure(self, connection: Connection) -> str:
        """The statement after which it is not so."""
        role = sql.Identifier(self.role)
        if self.member is None:
            return sql.SQL("ALTER ROLE {} NOLOGIN").format(role).as_string(connection)
        return (
            sql.SQL("REVOKE {} FROM {} CASCADE")
            .format(role, sql.Identifier(self.member))
            .as_string(connection)
        )


# But for superusers and this login, and for the owners of the tables and of the database, who may
# do as much anyway.
_HOLDERS = """
SELECT r.rolname, member.rolname, bool_or(m.admin_option)
FROM pg_roles AS r
JOIN pg_auth_members AS m ON m.roleid = r.oid
JOIN pg_roles AS member ON member.oid = m.member AND NOT member.rolsuper
WHERE r.rolname = ANY (%(roles)s) AND member.rolname <> current_user
  AND member.oid NOT IN (
    SELECT datdba FROM pg_database WHERE datname = current_database()
    UNION ALL
    SELECT relowner FROM pg_class WHERE oid = to_regclass('embedding_spaces'))
GROUP BY 1, 2
UNION ALL
SELECT r.rolname, NULL, false FROM pg_roles AS r
WHERE r.rolname = ANY (%(roles)s) AND r.rolcanlogin AND r.rolname <> 'pipeline_loopback'
ORDER BY 1, 2
"""


def holders(connection: Connection, *roles: str) -> list[Holder]:
    """Who has these roles."""
    rows = connection.execute(_HOLDERS, {"roles": list(roles)}).fetchall()
    return [Holder(*row) for row in rows]


def warn_of_holders(connection: Connection, roles: Sequence[str]) -> None:
    """Of whoever has rights here from now on, since the roles were there before."""
    if found := holders(connection, *roles):
        logger.warning(
            "roles of the pipeline were there before, and have their rights in this database now: "
            "%s; where that is not meant, an administrator runs: %s",
            ", ".join(holder.said for holder in found),
            "; ".join(holder.cure(connection) for holder in found),
        )
