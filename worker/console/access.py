"""Says who somebody is, and what they may do here."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple


class Right(StrEnum):
    """What a route needs. It is named to whoever lacks it."""

    VIEW = "view"  # see what there is, without payloads
    OPERATE = "operate"  # retry, resend, cancel, pause, limit, replay, drop
    ADMIN = "admin"  # what cannot be taken back, or changes the installation: keys, retention, blockers
    PAYLOAD = "payloads"  # see bodies of requests, responses and dead letters; no role has it by itself


class Role(StrEnum):
    """What somebody is. Each role has the rights of the one before."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    @property
    def rights(self) -> frozenset[Right]:
        ladder = (Right.VIEW, Right.OPERATE, Right.ADMIN)
        return frozenset(ladder[: list(Role).index(self) + 1])


class Who(NamedTuple):
    """Somebody whom the console knows."""

    name: str
    role: Role
    payloads: bool = False
    csrf: str = ""  # the token that each POST of theirs carries; "" where none is needed: a bearer's

    @property
    def rights(self) -> frozenset[Right]:
        return self.role.rights | ({Right.PAYLOAD} if self.payloads else set())

    def may(self, right: Right | None) -> bool:
        """Return whether they have this right; None is no right, and needs nobody."""
        return right is None or right in self.rights

    @property
    def signature(self) -> str:
        """Return what the audit shows as who did it."""
        return f"{self.name} via console"


GIVEN_BY: Final[Mapping[Right, str]] = {
    Right.VIEW: "the role viewer has it",
    Right.OPERATE: "the roles operator and admin have it",
    Right.ADMIN: "the role admin has it",
    Right.PAYLOAD: "a line with the word `payloads` in the tokens file has it",
}
"""Who has a right, in words: for those who lack it."""
