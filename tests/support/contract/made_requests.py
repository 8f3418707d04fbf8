"""Makes random requests from the published schema, and changes them to make them wrong.

Seeded, so that a run is like the one before. The generator follows the document alone, not the models; a
word of JSON Schema that it does not know is an error, and so is a pattern without samples.
"""

import random
import re
from collections.abc import Callable
from typing import Any

from support.contract.mutations import OPERATORS, camel_case

Json = dict[str, Any]
_PROSE = "aZ09 _-.,:/@#{}\"'\\\n\t\u00e9\u00df\u4e2d\u05d0\u2028\u0301\U0001f600\U0001f468\u200d"
_KNOWN = {
    *("$ref", "$defs", "$id", "$schema", "title", "description", "default", "deprecated", "examples"),
    *("type", "const", "enum", "anyOf", "oneOf", "properties", "required", "additionalProperties"),
    *("propertyNames", "items", "minimum", "maximum", "minLength", "maxLength", "pattern", "format", "not"),
    *("if", "then", "else"),
}
_MANY = 12  # objects inside each other, after which only what is required is made


def _digits(chance: random.Random, count: int) -> str:
    return "".join(chance.choices("0123456789", k=count))


def _uuid(chance: random.Random) -> str:
    letters = chance.choice(["0123456789abcdef", "0123456789ABCDEF", "09afAF"])
    return "-".join("".join(chance.choices(letters, k=count)) for count in (8, 4, 4, 4, 12))


def _date(chance: random.Random) -> str:
    return f"{chance.randint(1900, 2100)}-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}"


def _clock(chance: random.Random) -> str:
    return f"{chance.randint(0, 23):02}:{chance.randint(0, 59):02}:{chance.randint(0, 59):02}"


def _instant(chance: random.Random) -> str:
    fraction = chance.choice(["", ".5", ".123456", f".{_digits(chance, 9)}"])
    offset = chance.choice(["Z", "z", "+00:00", "-05:30"])
    return f"{_date(chance)}{chance.choice('Tt')}{_clock(chance)}{fraction}{offset}"


def _iso_8601(chance: random.Random) -> str:
    week = f"{chance.randint(1900, 2100)}-W{chance.randint(1, 52):02}{chance.choice(['', '-1', '-7'])}"
    date = chance.choice([_date(chance), week])
    time = chance.choice(["", f"T{_clock(chance)}", f" {_clock(chance)[:5]}", f"t{_clock(chance)},25"])
    offset = chance.choice(["", "Z", "+02", "+0200", "-02:00"]) if time else ""
    basic = chance.random() < 0.3
    return f"{date.replace('-', '')}{time.replace(':', '')}{offset}" if basic else f"{date}{time}{offset}"


def _sound(chance: random.Random) -> str:
    return chance.choice(["off", "office", "https://a.example/x%20y?z=$1#f", "urn:a:b", "s3://u:p@[::1]:9/k"])


# By what the pattern begins with: sample texts for it. Each is checked against the whole pattern.
_SAMPLES: dict[str, Callable[[random.Random], str]] = {
    "^[0-9A-Fa-f]{8}(-": _uuid,
    "^[0-9]{4}(-": _iso_8601,
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]": _instant,
    "^cf_": lambda chance: f"cf_{_digits(chance, 6)}_{chance.choice(['a', 'Z9', 'abc123'])}",
    "^(off|office|": _sound,
    r"^\+[1-9]": lambda chance: f"+{chance.randint(1, 9)}{_digits(chance, chance.randint(1, 14))}",
    r"^\+?[a-zA-Z0-9]+": lambda chance: chance.choice(["+1234567", "abc", "0".zfill(40), "+ABC123"]),
}


class Maker:
    """Makes instances of the document's schema."""

    def __init__(self, document: Json, chance: random.Random) -> None:
        self._document, self._chance = document, chance
        self._leanness = 0.5

    def request(self) -> Json:
        """Makes a request that the schema allows. Each has another size."""
        self._leanness = self._chance.choice([0.1, 0.3, 0.6])
        made: Json = self._of(self._document, 0)
        return made

    def mutated(self) -> tuple[list[str], Json]:
        """Makes a request changed at one to three places, or spelled in camelCase, and names the changes."""
        request, names = self.request(), []
        for _ in range(self._chance.choice([1, 1, 1, 2, 3])):
            name, operator = self._chance.choice(OPERATORS)
            operator(self._chance, request)
            names.append(name)
        if self._chance.random() < 0.1:
            request = camel_case(request)
            names.append("all in camelCase")
        return names, request

    def _of(self, schema: Json, depth: int) -> Any:
        if unknown := set(schema) - _KNOWN:
            raise NotImplementedError(f"the generator does not know {unknown}")
        if "$ref" in schema:
            return self._of(self._document["$defs"][schema["$ref"].rpartition("/")[2]], depth)
        if options := schema.get("anyOf") or schema.get("oneOf"):
            if self._chance.random() < 0.9:  # mostly not the null
                options = [option for option in options if option != {"type": "null"}]
            return self._of(self._chance.choice(options), depth)
        if values := schema.get("enum") or [schema[name] for name in ("const",) if name in schema]:
            return self._chance.choice(values)
        makers: dict[str | None, Callable[[], Any]] = {
            "object": lambda: self._object(schema, depth),
            "array": lambda: self._list(schema, depth),
            "string": lambda: self._text(schema),
            "number": lambda: self._number(schema),
            "boolean": lambda: self._chance.random() < 0.5,
            "null": lambda: None,
            None: lambda: self._anything(0),
        }
        return makers[schema.get("type")]()

    def _list(self, schema: Json, depth: int) -> list[Any]:
        most = 2 if depth < _MANY else 0
        return [self._of(schema["items"], depth + 1) for _ in range(self._chance.randint(0, most))]

    def _object(self, schema: Json, depth: int) -> Json:
        made: Json = {}
        fields = schema.get("properties", {})
        for name, field in fields.items():
            wanted = depth < _MANY and self._chance.random() < self._leanness / (1 + depth / 3)
            if name in schema.get("required", []) or wanted:
                made[name] = self._of(field, depth + 1)
        if schema.get("additionalProperties") is True and self._chance.random() < 0.3:
            made["anything_else"] = self._anything(0)
            made["someThing"] = self._anything(0)
        if "if" in schema:
            self._switch(schema, made)
        return made

    def _switch(self, schema: Json, made: Json) -> None:
        """An `if` here asks for a constant; what then holds are patterns."""
        ((name, asked),) = schema["if"]["properties"].items()
        branch = schema["then"] if made.get(name, ...) is asked["const"] else schema["else"]
        for field, ruled in branch["properties"].items():
            if made.get(field) is not None:
                made[field] = self._text({**ruled["anyOf"][0], "minLength": 3})

    def _text(self, schema: Json) -> str:
        low, high = schema.get("minLength", 0), schema.get("maxLength", 60)
        if pattern := schema.get("pattern"):
            (sample,) = (made for begin, made in _SAMPLES.items() if pattern.startswith(begin))
            while len(text := sample(self._chance)) < low:
                pass
            assert re.search(pattern, text), (pattern, text)
            return text
        length = self._chance.choice([low, high, self._chance.randint(low, min(high, low + 12))])
        return "".join(self._chance.choices(_PROSE, k=length))

    def _number(self, schema: Json) -> float | int:
        low: float = schema.get("minimum", -1e6)
        high: float = schema.get("maximum", 1e6)
        return self._chance.choice([low, high, int(high), self._chance.uniform(low, high)])

    def _anything(self, depth: int) -> Any:
        chance = self._chance
        leaves = [None, True, 0, -1.5, 1e300, "", "text", "\U0001f600"]
        if depth > 2 or chance.random() < 0.5:
            return chance.choice(leaves)
        if chance.random() < 0.5:
            return [self._anything(depth + 1) for _ in range(chance.randint(0, 3))]
        names = chance.sample(
            ["a", "b_c", "dE", "", "max_tokens", "maxTokens", "\u00e9"], k=chance.randint(0, 3)
        )
        return {name: self._anything(depth + 1) for name in names}
