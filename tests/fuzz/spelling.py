"""Writes a JSON document anew, in other words: another order, other space, escapes and numbers."""

import json
import random
import re
from typing import Any

_WHOLE = 1 << 53  # up to here a double holds every whole number
_SPACES = ("", "", " ", "\n", "\t ", "\r\n  ")
_AS_IT_IS = re.compile(r'[^\x00-\x1f"\\\ud800-\udfff]*')
_VARIED = 60  # letters of a text; those after them are spelled in a quick way
_SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


class Ambiguous(ValueError):
    """The text is read in several ways: it has a key twice, or what is not JSON."""


def read(body: bytes) -> Any:
    """Read what may be spelled anew. Raises ValueError or RecursionError."""
    return json.loads(body.decode(), object_pairs_hook=_once, parse_constant=_none)


def spelled(document: Any, chance: random.Random) -> bytes:
    """Spell a document that was read. Half of a surrogate pair can only be escaped."""
    parts: list[str] = []
    _write(document, chance, parts)
    return "".join(parts).encode()


def shuffled(document: Any, chance: random.Random) -> Any:
    """Put the members of all objects in another order."""
    if isinstance(document, dict):
        names = list(document)
        chance.shuffle(names)
        return {name: shuffled(document[name], chance) for name in names}
    return [shuffled(item, chance) for item in document] if isinstance(document, list) else document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise Ambiguous
    return document


def _none(_name: str) -> Any:
    raise Ambiguous


def _write(value: Any, chance: random.Random, parts: list[str]) -> None:
    if isinstance(value, dict):
        names = list(value)
        chance.shuffle(names)
        before = "{"
        for name in names:
            parts += (before, chance.choice(_SPACES), _text(name, chance), chance.choice(_SPACES), ":")
            parts.append(chance.choice(_SPACES))
            _write(value[name], chance, parts)
            parts.append(chance.choice(_SPACES))
            before = ","
        parts.append("}" if names else "{}")
    elif isinstance(value, list):
        before = "["
        for item in value:
            parts += (before, chance.choice(_SPACES))
            _write(item, chance, parts)
            parts.append(chance.choice(_SPACES))
            before = ","
        parts.append("]" if value else "[]")
    elif isinstance(value, str):
        parts.append(_text(value, chance))
    elif isinstance(value, bool) or value is None:
        parts.append(json.dumps(value))
    else:
        parts.append(_number(value, chance))


def _text(text: str, chance: random.Random) -> str:
    share = chance.choice((0.0, 0.0, 0.1, 1.0))
    parts = (text[:_VARIED], share), (text[_VARIED:], 0.0)
    return f'"{"".join(_letters(part, chance, share) for part, share in parts)}"'


def _letters(text: str, chance: random.Random, share: float) -> str:
    if share == 0.0 and _AS_IT_IS.fullmatch(text):
        return text
    return "".join(_letter(letter, chance, share) for letter in text)


def _letter(letter: str, chance: random.Random, share: float) -> str:
    code = ord(letter)
    if letter in _SHORT and (share == 0.0 or chance.random() < 0.5):
        return _SHORT[letter]
    if letter == "/" and chance.random() < share:
        return "\\/"
    if code < 0x20 or letter in _SHORT or 0xD800 <= code <= 0xDFFF or (share and chance.random() < share):
        units = letter.encode("utf-16-be", "surrogatepass")
        digits = (units[place : place + 2].hex() for place in range(0, len(units), 2))
        return "".join(f"\\u{chance.choice((unit, unit.upper()))}" for unit in digits)
    return letter


def _number(value: float, chance: random.Random) -> str:
    if isinstance(value, int):
        if abs(value) >= _WHOLE:
            return str(value)
        ways = [str(value), f"{value}.0", f"{value}e0", f"{value * 10}E-1", f"{value}.000e+00"]
        return chance.choice(ways)
    plain = repr(value)
    if plain in ("inf", "-inf"):
        return plain.replace("inf", "1e999")
    ways = [plain, f"{value:.17e}", f"{value:.17E}"]
    if "e" not in plain:
        ways.append(f"{plain}000")
    return chance.choice(ways)
