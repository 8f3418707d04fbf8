"""Finds the fields of a request that look like credentials and are stored as they are.

The contract's rule goes by names (`schemas.secret`). This one guesses, by more names and by some values, so
it seals nothing. People are told the path, never the value.
"""

import re
from enum import Enum, auto
from functools import lru_cache
from typing import Any

from schemas.readable import LONGEST_PATH, printable, shortened
from schemas.secret import FREE_FORM, is_secret_name, may_hold_secrets

_MOST_FOUND = 5  # in one request
_LOOKED_AT = 4_096  # characters of a value
_LONGEST_NAME = 64
_LEAST_PIN = 1_000
_TELLING = re.compile(
    r"""(?:
        (?: \A | [-_.\ ] | (?-i:(?<=[a-z0-9])(?=[A-Z])) )
            (?: tokens | pwds? | pass | pass[-_.\ ]?codes? | pins? | otps? | creds? | dsn | sas | pem
            | signature )
        | (?:key|secret|token|password)[-_.\ ]?(?:value|\d+)
        | (?:token|secret|password)[-_.\ ]
        | (?:database|db|redis|amqp|broker|mongo|connection)[-_.\ ]?ur[il]
        | service[-_.\ ]?account(?:[-_.\ ]?json)? | auth[-_.\ ]?header
        | (?-i:[a-z0-9]Key) | [-_.\ ]key
    )\Z""",
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)
# Names that mostly stand for something else: the value under them has to look like nothing that people write.
_VAGUE = re.compile(
    r"(?:keys?|key[-_. ]?id|login|user[-_. ]?name|header|cert|certificate)\Z", re.ASCII | re.IGNORECASE
)
_NO_WORD = re.compile(r"(?=[^0-9]*[0-9])(?=[^A-Za-z]*[A-Za-z])[A-Za-z0-9+/_=.-]{16,}")
_INNOCENT = re.compile(
    r"(?:(?:public|primary|foreign|sort|partition|cache|routing|idempotency)[-_. ]?key|"
    r"(?:max|min|total|prompt|completion|input|output)[-_. ]?tokens)\Z",
    re.ASCII | re.IGNORECASE,
)
_IN_URL = re.compile(
    r"""://[^/\s:@]*:[^/\s@]+@
    | [?&;](?:[\w.-]{0,40}[-_.])?
      (?:(?:api|access|auth)?[-_]?(?:token|key|secret)|passw(?:or)?d|pwd|sig(?:nature)?)
      =[^&\s]{4,}""",
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)


class _Name(Enum):
    PLAIN = auto()
    FREE_FORM = auto()  # nothing below it is sealed
    SECRET = auto()  # by the contract's rule
    TELLING = auto()
    VAGUE = auto()


class _At:
    """A place. Its path is made only if it is told: one for each place would cost more than all else."""

    __slots__ = ("above", "name")

    def __init__(self, above: "_At | None", name: str) -> None:
        self.above = above
        self.name = name

    def path(self) -> str:
        names: list[str] = []
        at: _At | None = self
        while at is not None:
            names.append(printable(at.name))
            at = at.above
        return shortened(".".join(reversed(names)), LONGEST_PATH)


def exposed_paths(metadata: Any, payload: dict[str, Any]) -> tuple[str, ...]:  # noqa: ANN401 — plain JSON
    """Return the first of these paths. The items of a list are not told apart; `messages` are texts, and are
    not looked at.
    """
    found: list[_At] = []
    rest = {name: value for name, value in payload.items() if name != "messages"}
    _look_into(metadata, _At(None, "metadata"), found, free=True)
    _look_into(rest, _At(None, "payload"), found, free=False)
    return tuple(dict.fromkeys(at.path() for at in found))


def _look_into(value: Any, at: _At, found: list[_At], *, free: bool) -> None:  # noqa: ANN401 — plain JSON
    if len(found) >= _MOST_FOUND:
        return
    if isinstance(value, dict):
        _look_into_object(value, at, found, free=free)
    elif isinstance(value, list):
        for item in value:
            _look_into(item, at, found, free=free)
    elif isinstance(value, str) and _has_credential(value):
        found.append(at)


def _look_into_object(value: dict[str, Any], at: _At, found: list[_At], *, free: bool) -> None:
    for name, item in value.items():
        if len(found) >= _MOST_FOUND:
            return
        kind = _kind(name[-_LONGEST_NAME:])
        if kind is _Name.SECRET and not free:
            continue  # it is sealed, and all below it
        if isinstance(item, dict | list):
            _look_into(item, _At(at, name), found, free=free or kind is _Name.FREE_FORM)
        elif _is_exposed(kind, item):
            found.append(_At(at, name))
    if _is_labelled(value):
        found.append(_At(at, "value"))


@lru_cache(maxsize=4096)
def _kind(name: str) -> _Name:
    if name in FREE_FORM:
        return _Name.FREE_FORM
    if is_secret_name(name):
        return _Name.SECRET
    if _INNOCENT.search(name):
        return _Name.PLAIN
    if _TELLING.search(name):
        return _Name.TELLING
    return _Name.VAGUE if _VAGUE.search(name) else _Name.PLAIN


def _is_exposed(kind: _Name, value: Any) -> bool:  # noqa: ANN401 — plain JSON
    if isinstance(value, int):  # a number that could be a PIN
        return kind in {_Name.SECRET, _Name.TELLING} and value >= _LEAST_PIN
    if not isinstance(value, str):
        return False
    match kind:
        case _Name.SECRET | _Name.TELLING:
            return bool(value)
        case _Name.VAGUE if _NO_WORD.fullmatch(value):
            return True
        case _:
            return _has_credential(value)


def _has_credential(value: str) -> bool:
    """Tell whether a text is an address with a password or a token in it, or JSON with a secret's name."""
    if "://" in value:
        return _IN_URL.search(value[:_LOOKED_AT]) is not None
    return value[:1] in ("{", "[") and may_hold_secrets(value[:_LOOKED_AT])


def _is_labelled(value: dict[str, Any]) -> bool:
    """Tell whether it is a pair of the name of a secret and its value."""
    label = value.get("name") or value.get("key")
    if not isinstance(label, str) or not isinstance(value.get("value"), str) or not value["value"]:
        return False
    return _kind(label[-_LONGEST_NAME:]) in (_Name.SECRET, _Name.TELLING)
