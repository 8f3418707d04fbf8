"""Says for which organisations a user of the broker may act. Pure values."""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

_ORG: Final = "{org}"
_ALL: Final = "*"
_FORM = (
    "is neither a pattern of users' names with {org} in it once, as tenant-{org}, nor JSON as "
    '{"tenant-{org}": "{org}", "billing": ["org-7", "org-8"], "console": "*"}, nor the path, from / on, of a '
    "file with that JSON"
)


class OrgsOfUsers(NamedTuple):
    """The users of the broker and their organisations. A user may act for all that any entry gives it."""

    everywhere: frozenset[str]  # users who may act for every organisation: operators
    table: Mapping[str, frozenset[str]]
    patterns: tuple[tuple[str, str], ...]  # what stands before and after the organisation in a user's name

    def may_act(self, user: str | None, org: str | None) -> bool:
        """Tell whether the user may act for the organisation; None: for one that nobody knows."""
        if user is None or user in self.everywhere:
            return user is not None
        return org is not None and (
            org in self.table.get(user, ())
            or any(user == f"{before}{org}{after}" for before, after in self.patterns)
        )


def orgs_of_users(text: str, own_user: str | None = None) -> OrgsOfUsers:
    """Read them as they are written: `tenant-{org}`, or JSON with the organisations of each user, `"*"` for
    all. `own_user`: may act for all as well. Raises ValueError.
    """
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError):
        document = {text: _ORG}
    if not isinstance(document, dict) or not document:
        raise ValueError(_FORM)
    everywhere = set() if own_user is None else {own_user}
    table: dict[str, frozenset[str]] = {}
    patterns: list[tuple[str, str]] = []
    for user, orgs in document.items():
        before, found, after = user.partition(_ORG)
        if found or orgs == _ORG:
            if not found or orgs != _ORG or _ORG in after:
                raise ValueError(_FORM)
            patterns.append((before, after))
        elif orgs == _ALL:
            everywhere.add(user)
        else:
            table[user] = _orgs(orgs)
    return OrgsOfUsers(frozenset(everywhere), table, tuple(patterns))


def _orgs(given: object) -> frozenset[str]:
    orgs = given if isinstance(given, list) else [given]
    if not orgs or not all(isinstance(org, str) and org for org in orgs):
        raise ValueError(_FORM)
    return frozenset(orgs)
