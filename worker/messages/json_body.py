"""Reads JSON bodies more strictly than the standard library does, and writes JSON in one form.

What Postgres cannot hold is found here, so that no batch fails because of one message.
"""

import json
import re
from typing import Any, NoReturn

from schemas.readable import LONGEST_NAME, LONGEST_PATH, printable, shortened
from worker.json_writer import writer_of

MAX_DEPTH = 100
MAX_CONTAINERS = 50_000  # objects and arrays: each costs some twenty times its two characters
_WHOLE = 2.0**53  # up to here a double holds every whole number
_GZIP = b"\x1f\x8b"
_BYTE_ORDER_MARK = "\ufeff"
# A string that is never closed reaches to the end of the text, so that no quote in it is tried as a start.
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_MANY_DIGITS = re.compile(r"(?<![0-9])[0-9]{309}")  # a shorter number is within the range of a double
_NOT_STORABLE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")

Link = tuple["Link | None", str | int]  # the place of a value: that of its container, and its name in there


class Malformed(Exception):
    """The body cannot be a request. `document` is its JSON if it could be read all the same."""

    def __init__(self, reason: str, document: object = None) -> None:
        super().__init__(reason)
        self.document = document


def parse(body: bytes) -> dict[str, Any]:
    """Reads the JSON object in a body, more strictly than the standard library does."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        packed = " (it looks gzip-compressed: send it plain)" if body.startswith(_GZIP) else ""
        raise Malformed(f"the body is not UTF-8 text{packed}") from None
    if not text.strip():
        raise Malformed("the body is empty")
    if text.startswith(_BYTE_ORDER_MARK):
        raise Malformed("the body is not JSON: it begins with a byte order mark, leave that out")
    brackets = _check_count(text)
    document = _read(text)
    if not isinstance(document, dict):
        raise Malformed("the body is JSON, but not an object")
    if brackets > MAX_DEPTH and _deeper_than(document, MAX_DEPTH):
        raise Malformed(f"the body is nested deeper than {MAX_DEPTH} levels", document)
    if _NOT_STORABLE.search(text):
        _check_storable(document)
    return document


def parse_loosely(body: bytes) -> object:
    """Reads a body that is refused as the standard library does, but for 1.0, which is 1; None if that cannot
    read it either.
    """
    try:
        text = body.decode()
        _check_count(text)
        return _LOOSE_READER.decode(text)
    except (Malformed, ValueError, RecursionError):
        return None


def _check_count(text: str) -> int:
    """Refuses a text that would take many times its size in memory, before it is read. Strings are taken out
    only if there are many brackets: those in strings do not count. Returns how many there are with those.
    """
    brackets = text.count("{") + text.count("[")
    if brackets <= MAX_CONTAINERS:
        return brackets
    bare = without_strings(text)
    if bare.count("{") + bare.count("[") > MAX_CONTAINERS:
        raise Malformed(f"the body has more than {MAX_CONTAINERS} objects and arrays")
    return brackets


def without_strings(text: str) -> str:
    """Takes the strings out of JSON: brackets, commas and numbers stay."""
    return _STRING.sub("", text)


def _read(text: str) -> Any:  # noqa: ANN401 — any JSON
    reader = _COUNTING_READER if _MANY_DIGITS.search(text) else _READER
    try:
        return reader.decode(text)
    except json.JSONDecodeError as error:
        raise Malformed(f"the body is not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise Malformed(f"the body is nested deeper than {MAX_DEPTH} levels") from None


def compact(document: Any) -> str:  # noqa: ANN401 — any JSON
    """Writes the same text for the same document. Raises UnicodeEncodeError or ValueError if it cannot be
    stored.
    """
    text = _write(document)
    text.encode()
    return text


def in_ascii(document: Any) -> str:  # noqa: ANN401 — any JSON
    """Writes the same text for the same document, also where it cannot be stored: to compare it alone."""
    return _ASCII_WRITER.encode(document)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise Malformed(f"the key {key[:LONGEST_NAME]!a} is there twice in one object")
            seen.add(key)
    return document


def _no_constant(name: str) -> NoReturn:
    raise Malformed(f"the body holds {name}, which is not JSON")


def _finite(digits: str) -> float | int:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise Malformed("the body holds a number beyond the range of a double")
    return _plain(number)


def _plain(number: float) -> float | int:
    """Makes one number of 3600.0 and 3600, which make the same request."""
    return int(number) if number.is_integer() and abs(number) < _WHOLE else number


def _whole(digits: str) -> int:
    if float(digits) in (float("inf"), float("-inf")):
        raise Malformed("the body holds a number beyond the range of a double")
    return int(digits)


def _deeper_than(document: Any, limit: int) -> bool:  # noqa: ANN401 — any JSON
    level, depth = [document], 0
    while level:
        depth += 1
        if depth > limit:
            return True
        level = [
            child
            for value in level
            for child in (value.values() if isinstance(value, dict) else value)
            if isinstance(child, dict | list)
        ]
    return False


def _check_storable(document: dict[str, Any]) -> None:
    """Refuses what Postgres cannot hold: NUL and halves of a surrogate pair, which escapes can spell."""
    level: list[tuple[Link | None, Any]] = [(None, document)]
    while level:
        link, value = level.pop()
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(key, str) and _unstorable(key):
                raise Malformed(
                    "a key holds a character that cannot be stored (NUL or half a surrogate pair)", document
                )
            if isinstance(child, str):
                if wrong := _unstorable(child):
                    raise Malformed(f"{path_of((link, key))} holds {wrong}", document)
            elif isinstance(child, dict | list):
                level.append(((link, key), child))


def _unstorable(text: str) -> str | None:
    """Names what Postgres cannot hold in a text; None if it can hold all of it."""
    if "\x00" in text:
        return "the character NUL (\\u0000), which cannot be stored"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "half of a surrogate pair, which is not Unicode text"
    return None


def path_of(link: Link | None) -> str:
    """Joins the names that lead from the document to a value, cut to what a person reads."""
    names: list[str] = []
    while link is not None:
        link, name = link
        names.append(printable(str(name)))
    return shortened(".".join(reversed(names)), LONGEST_PATH)


# Made once: `json.loads` and `json.dumps` with options make one for each call.
_READER = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_float=_finite)
_COUNTING_READER = json.JSONDecoder(
    object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_float=_finite, parse_int=_whole
)
_LOOSE_READER = json.JSONDecoder(parse_float=lambda digits: _plain(float(digits)))
_WRITER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
_write = writer_of(_WRITER)
_ASCII_WRITER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
