"""Finds the values of a payload or a session record that are secret.

The rule goes by names, in either spelling, so it also holds inside unknown fields that are kept:
every value under a name that ends in `headers`, every item of `credentials`, and every value
whose name looks like a credential's. `metadata` and `variable_values` are free-form and left
alone. Only names decide, never the values: so the same walk finds the places again after the
secrets in them were replaced.
"""

import re
from collections.abc import Callable
from enum import Enum, auto
from functools import lru_cache
from hashlib import blake2b
from typing import Any, TypeVar

Change = Callable[[str, Any], Any]
Document = TypeVar("Document", dict[str, Any], list[Any])

FREE_FORM = {"metadata", "variable_values", "variableValues"}

_SEP = r"[-_.\ ]?"
_CREDENTIAL = re.compile(
    rf"""(?:
        (?:api|secret|private|access|signing|encryption|subscription|shared|master|auth|ai|gcp)
            {_SEP}keys?(?:{_SEP}id)?
        | secrets? | passw(?:or)?ds? | passphrase | token | jwt | cookies? | bearer
        | auth | authorization | authentication{_SEP}(?:plan|session)
        | credentials? | connection{_SEP}string
    )\Z""",
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)
_HEADERS = re.compile(r"headers\Z", re.ASCII | re.IGNORECASE)
# The tokens of a language model are no credentials.
_INNOCENT = re.compile(rf"(?:max|eos|bos|pad|unk|sep|mask|stop){_SEP}token", re.ASCII | re.IGNORECASE)
_LONGEST_PATH = 1024
_LONGEST = 64  # longer than any name above: of a longer one, only the end is looked at

# The members of a JSON Schema that may hold a value; the others describe one.
_SCHEMA_VALUES = {"default", "const", "value", "enum", "example", "examples"}

# The last letters of every name above, before a closing quote and a colon; or an escape, which may hide
# a name. It is coarser than the walk, so it never misses what the walk would find.
_IN_TEXT = re.compile(
    r"""
    "(?=\s*:)(?:
        (?<=headers") | (?<=key") | (?<=keys") | (?<=keyid") | (?<=keysid")
        | (?<=key[-_.\ ]id") | (?<=keys[-_.\ ]id") | (?<=secret") | (?<=secrets")
        | (?<=password") | (?<=passwords") | (?<=passwd") | (?<=passwds") | (?<=passphrase")
        | (?<=token") | (?<=jwt") | (?<=cookie") | (?<=cookies") | (?<=bearer") | (?<=auth")
        | (?<=authorization") | (?<=authenticationplan") | (?<=authentication[-_.\ ]plan")
        | (?<=authenticationsession") | (?<=authentication[-_.\ ]session")
        | (?<=credential") | (?<=credentials") | (?<=string")
    )
    | \\u00[2-7]
    """,
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)


class _Kind(Enum):
    PLAIN = auto()
    FREE_FORM = auto()
    PROPERTIES = auto()
    HEADERS = auto()
    CREDENTIAL = auto()


@lru_cache(maxsize=4096)
def _kind(name: str) -> _Kind:
    if name in FREE_FORM:
        return _Kind.FREE_FORM
    if name == "properties":
        return _Kind.PROPERTIES
    if _HEADERS.search(name):
        return _Kind.HEADERS
    if _CREDENTIAL.search(name) and not _INNOCENT.fullmatch(name):
        return _Kind.CREDENTIAL
    return _Kind.PLAIN


def may_hold_secrets(text: str) -> bool:
    """Searches the JSON text of a document; cheap. False only if `map_secrets` would change nothing."""
    return _IN_TEXT.search(text) is not None


def is_secret_name(name: str) -> bool:
    """Tells whether the values under this name are taken for secrets."""
    return _kind(name[-_LONGEST:]) in {_Kind.HEADERS, _Kind.CREDENTIAL}


def map_secrets(document: Document, change: Change) -> Document:
    """Copies a plain document, with `change(path, value)` in the place of each secret value.

    In a path of more than a thousand characters a digest stands for its beginning, so that a long name is not
    repeated for each value below it.
    """
    copy: Document = _copy(document, "", lambda path, value: change(path[1:], value))
    return copy


def _copy(value: Any, path: str, change: Change) -> Any:  # noqa: ANN401 - plain JSON
    if isinstance(value, dict):
        path = _bounded(path)
        return {
            key: _member(key, item, f"{path}.{key}" if _may_change(key, item) else "", change)
            for key, item in value.items()
        }
    if isinstance(value, list):
        path = _bounded(path)
        return [
            _copy(item, f"{path}.{index}", change) if isinstance(item, dict | list) else item
            for index, item in enumerate(value)
        ]
    return value


def _may_change(name: str, value: Any) -> bool:  # noqa: ANN401 - plain JSON
    """Tells whether the path of a member may be needed: making paths costs more than anything else here."""
    return isinstance(value, dict | list) or _kind(name[-_LONGEST:]) is not _Kind.PLAIN


def _bounded(path: str) -> str:
    if len(path) <= _LONGEST_PATH:
        return path
    return "." + blake2b(path.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _member(name: str, value: Any, path: str, change: Change) -> Any:  # noqa: ANN401 - plain JSON
    match _kind(name[-_LONGEST:]):
        case _Kind.FREE_FORM:
            return value
        case _Kind.PROPERTIES if isinstance(value, dict):
            path = _bounded(path)
            return {key: _property(key, item, f"{path}.{key}", change) for key, item in value.items()}
        case _Kind.HEADERS if isinstance(value, dict):
            path = _bounded(path)
            return {key: _changed(item, f"{path}.{key}", change) for key, item in value.items()}
        case _Kind.HEADERS | _Kind.CREDENTIAL if isinstance(value, list):
            path = _bounded(path)
            return [_changed(item, f"{path}.{index}", change) for index, item in enumerate(value)]
        case _Kind.HEADERS | _Kind.CREDENTIAL:
            return _changed(value, path, change)
        case _:
            return _copy(value, path, change)


def _property(name: str, value: Any, path: str, change: Change) -> Any:  # noqa: ANN401 - plain JSON
    """Copies a property of a JSON Schema: a description of a secret is none, a value in it may be one."""
    if not isinstance(value, dict) or "type" not in value:
        return _member(name, value, path, change)
    if _kind(name[-_LONGEST:]) not in {_Kind.HEADERS, _Kind.CREDENTIAL}:
        return _copy(value, path, change)
    path = _bounded(path)
    return {
        key: _changed(item, f"{path}.{key}", change)
        if key in _SCHEMA_VALUES
        else _member(key, item, f"{path}.{key}", change)
        for key, item in value.items()
    }


def _changed(value: Any, path: str, change: Change) -> Any:  # noqa: ANN401 - plain JSON
    # A boolean is no secret, and an empty value holds none.
    if value is None or isinstance(value, bool) or value in ("", [], {}):
        return value
    return change(_bounded(path), value)
