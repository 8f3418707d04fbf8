"""JSON bodies: read more strictly than the standard library does, written in one canonical form.

Whatever Postgres could not hold is found here, so that no batch fails over one message.
"""

import json
from typing import Any, NoReturn

MAX_DEPTH = 100
_WHOLE = 2.0**53  # up to here a double holds every whole number
_GZIP = b"\x1f\x8b"


class Malformed(Exception):
    """The body is no JSON document that can be a request."""


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object in a body; stricter than the standard library's reading of JSON."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        packed = " (it looks gzip-compressed: send it plain)" if body.startswith(_GZIP) else ""
        raise Malformed(f"the body is not UTF-8 text{packed}") from None
    if not text.strip():
        raise Malformed("the body is empty")
    try:
        document = _READER.decode(text)
    except json.JSONDecodeError as error:
        raise Malformed(f"the body is not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise Malformed(f"the body is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError:
        raise Malformed("the body has a number of too many digits") from None
    if not isinstance(document, dict):
        raise Malformed("the body is JSON, but not an object")
    if text.count("{") + text.count("[") > MAX_DEPTH and _deeper_than(document, MAX_DEPTH):
        raise Malformed(f"the body is nested deeper than {MAX_DEPTH} levels")
    if "\\u" in text:
        _check_storable(document)
    return document


def compact(document: Any) -> str:  # noqa: ANN401 — any JSON
    """The same text for the same document. UnicodeEncodeError or ValueError if it is not to be stored."""
    text = _WRITER.encode(document)
    text.encode()
    return text


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Malformed(f"the key {twice[:64]!a} is there twice in one object")
    return document


def _no_constant(name: str) -> NoReturn:
    raise Malformed(f"the body holds {name}, which is not JSON")


def _finite(digits: str) -> float | int:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise Malformed("the body holds a number beyond the range of a double")
    # 3600.0 and 3600 are the same number, and make the same request.
    return int(number) if number.is_integer() and abs(number) < _WHOLE else number


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
    """Escapes can spell what Postgres cannot hold: NUL and halves of a surrogate pair."""
    level: list[tuple[str, Any]] = [("", document)]
    while level:
        path, value = level.pop()
        if isinstance(value, str):
            if "\x00" in value:
                raise Malformed(f"{path} holds the character NUL (\\u0000), which cannot be stored")
            if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
                raise Malformed(f"{path} holds half of a surrogate pair, which is not Unicode text")
        elif isinstance(value, dict):
            for key in value:
                if "\x00" in key or any("\ud800" <= character <= "\udfff" for character in key):
                    raise Malformed(
                        "a key holds a character that cannot be stored (NUL or half a surrogate pair)"
                    )
            level.extend((f"{path}.{key}" if path else key, child) for key, child in value.items())
        elif isinstance(value, list):
            level.extend((f"{path}.{index}", child) for index, child in enumerate(value))


# Made once: `json.loads` and `json.dumps` with options make one for each call.
_READER = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_float=_finite)
_WRITER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
