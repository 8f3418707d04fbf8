"""Puts a canary into every place of a payload where a text may stand: made from the published schema.

The contract says of some places that they are secret: `MARKED` has its rules. What the schema leaves open
(tools, knowledge bases, a provider's own blocks) `secret_payloads` adds, and what people write there beside.
"""

import json
import re
import secrets
import string
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from support.contract.secret_payloads import PHONE, secret_payloads

from schemas import CreateSessionPayload

Json = dict[str, Any]
Build = Callable[[str], Any]
_SCHEMA = json.loads(
    (Path(__file__).parents[3] / "schemas/json/create-session-request.schema.json").read_text("utf-8")
)
_ANY = "*"  # a name of the producer's own choosing
_NOT_IN_HEX = "".join(sorted(set(string.ascii_lowercase) - set(string.hexdigits)))
# The contract's places, as paths of names: an item of a list has no name.
MARKED = re.compile(
    r"""phone_number\.twilio_(?:auth_token|api_key|api_secret)
    | (?:.+\.)?server\.headers\..+ | .+\.sip_headers\..+ | .+\.credentials(?:\..+)?
    | .+\.tools\.headers\..+""",
    re.VERBOSE,
)
# Names that people give to secrets, and that the contract does not name.
TELLING = [
    "tokens",
    "access_tokens",
    "accessTokens",
    "token2",
    "tokenValue",
    "token_value",
    "apiKey2",
    "apiKeyValue",
    "password1",
    "pwd",
    "pass",
    "passcode",
    "pin",
    "otp",
    "secretValue",
    "secret_value",
    "secret_token_",
    "key",
    "keys",
    "keyId",
    "key_id",
    "private_key_pem",
    "pem",
    "licenseKey",
    "accountKey",
    "storageKey",
    "hmacKey",
    "webhook_key",
    "client_key",
    "deploy_key",
    "sshKey",
    "ssh_key",
    "tlsKey",
    "groqKey",
    "anthropicKey",
    "public_key",
    "signature",
    "sas",
    "dsn",
    "database_url",
    "creds",
    "login",
    "username",
    "auth_username",
    "authHeader",
    "header",
    "serviceAccount",
    "service_account_json",
    "cert",
    "certificate",
]
# Names that the contract's rule takes for secrets, wherever they stand.
SEALED = [
    "api_key",
    "apiKey",
    "xi-api-key",
    "token",
    "access_token",
    "refreshToken",
    "password",
    "passwd",
    "passphrase",
    "secret",
    "client_secret",
    "privateKey",
    "private_key_id",
    "authorization",
    "Authorization",
    "auth",
    "bearer",
    "cookie",
    "jwt",
    "connection_string",
    "connectionString",
    "credential",
    "headers",
]


class Place(NamedTuple):
    """A place with a canary in it. `sealed`: nothing of it may ever be stored or shown in the clear."""

    path: str
    payload: Json
    canary: str
    sealed: bool


class Canaries:
    """Makes canaries that no other run has, and finds them, in some disguises too."""

    def __init__(self) -> None:
        # A mark that is hex itself would be found, with a number behind it, in some of thousands of ids.
        self._mark = "".join(secrets.choice(_NOT_IN_HEX) for _ in range(4))
        self._made = 0

    def new(self) -> str:
        """Makes the next one: short, since some fields are."""
        self._made += 1
        return f"{self._mark}{self._made:04}"

    def found_in(self, text: str | bytes) -> set[str]:
        """Finds those that are in a text as they are, or reversed, or in hex."""
        raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        mark = self._mark.encode()
        found = {each.decode() for each in re.findall(mark + rb"\d{4}", raw)}
        found |= {each[::-1].decode() for each in re.findall(rb"\d{4}" + mark[::-1], raw)}
        in_hex = re.findall(mark.hex().encode() + rb"(?:3\d){4}", raw, re.IGNORECASE)
        return found | {bytes.fromhex(each.decode()).decode() for each in in_hex}


def places(canaries: Canaries) -> list[Place]:
    """Returns every place, each in a payload of its own that is valid."""
    return [*_by_schema(canaries), *_below_open_blocks(canaries), *_by_name(canaries)]


def _by_schema(canaries: Canaries) -> Iterator[Place]:
    payload = _defined(_SCHEMA["properties"]["payload"])
    seen: set[tuple[int, str]] = set()
    for names, build in _texts(payload, (), seen, ()):
        path = ".".join(names)
        canary = canaries.new()
        made = next(filter(_is_valid, (build(form(canary)) for form in _forms(names[-1]))), None)
        if made is not None:  # else a choice of words, or a number in letters
            yield Place(path, made, canary, MARKED.fullmatch(path) is not None)


def _below_open_blocks(canaries: Canaries) -> Iterator[Place]:
    for case in secret_payloads():
        canary = canaries.new()
        yield Place(
            case.path, json.loads(json.dumps(case.payload).replace(case.canary, canary)), canary, True
        )


def _by_name(canaries: Canaries) -> Iterator[Place]:
    """Puts them under names of the producer's own choosing, where unknown ones are kept."""
    model = {"provider": "openai", "model": "gpt-4o"}

    def place(path: str, make: Callable[[str], Json], *, sealed: bool = False) -> Place:
        canary = canaries.new()
        return Place(path, make(canary), canary, sealed)

    for name in (*SEALED, *TELLING):
        yield place(
            f"assistant.model.{name}",
            lambda c, name=name: {"assistant": {"model": {**model, name: f"{c}-d41d8cd98f00"}}},  # type: ignore[misc]
            sealed=name in SEALED,
        )
        for free in ("metadata", "variable_values"):
            block = {"metadata": "assistant.metadata"}.get(
                free, "customer.assistant_overrides.variable_values"
            )
            yield place(f"{block}.{name}", partial(_free, free, name))
    for address in (
        "https://me:{}@a.example/x", "https://a.example/x?token={}", "https://a.example/x?a=1&api_key={}",
    ):  # fmt: skip
        server = {
            "assistant": {"server": {"url": address}},
            "phone_number": {**PHONE, "server": {"url": address}},
        }
        for block, payload in server.items():
            text = json.dumps({block: payload})
            yield place(f"{block}.server.url", lambda c, text=text: json.loads(text.replace("{}", c)))  # type: ignore[misc]
    for extra in ({"name": "api_key", "value": "{}"}, '{"password": "{}"}', "Bearer {}", ["x", "{}"]):
        text = json.dumps({"assistant": {"model": {**model, "extra": extra}}})
        yield place("assistant.model.extra", lambda c, text=text: json.loads(text.replace("{}", c)))  # type: ignore[misc]


def _free(block: str, name: str, canary: str) -> Json:
    content = {name: f"{canary}-d41d8cd98f"}
    if block == "metadata":
        return {"assistant": {"metadata": content}}
    return {"customer": {"assistant_overrides": {"variable_values": content}}}


def _forms(name: str) -> list[Build]:
    """Returns what a text under this name may look like, what people write there first."""
    address: Build = "https://me:{0}@a.example/x?token={0}".format
    as_it_is: Build = "{0}".format
    return [address, as_it_is] if re.search("ur[il]|endpoint|sound", name) else [as_it_is, address]


def _is_valid(payload: Json) -> bool:
    try:
        CreateSessionPayload.model_validate(payload)
    except ValidationError:
        return False
    return True


def _texts(
    schema: Json, at: tuple[str, ...], seen: set[tuple[int, str]], above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Build]]:
    """Yields each text below a schema: its names, and how to make the smallest value that has one there. What
    is not marked is there once for each type that has it.
    """
    if name := schema.get("$ref"):
        if name not in above:  # a type that holds itself
            yield from _texts(_defined(schema), at, seen, (*above, name))
        return
    for option in schema.get("anyOf") or schema.get("oneOf") or ():
        yield from _texts(option, at, seen, above)
    match schema.get("type"):
        case "string" if "enum" not in schema and "const" not in schema:
            yield at, lambda text: text
        case "array":
            for names, build in _texts(schema["items"], at, seen, above):
                yield names, lambda text, build=build: [build(text)]  # type: ignore[misc]
        case "object":
            yield from _members(schema, at, seen, above)


def _members(
    schema: Json, at: tuple[str, ...], seen: set[tuple[int, str]], above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Build]]:
    required = {name: _least(schema["properties"][name]) for name in schema.get("required", ())}
    for name, field in schema.get("properties", {}).items():
        for names, build in _texts(field, (*at, name), seen, above):
            place = id(schema), ".".join(names[len(at) :])
            if place in seen and not MARKED.fullmatch(".".join(names)):
                continue
            seen.add(place)
            yield names, lambda text, name=name, build=build: {**required, name: build(text)}  # type: ignore[misc]
    if schema.get("additionalProperties") and not schema.get("properties"):
        yield (*at, _ANY), lambda text: {"X-Any": text}


def _least(schema: Json) -> Any:  # noqa: PLR0911 — a value for each type
    """Makes the smallest value that a schema allows."""
    if "$ref" in schema:
        return _least(_defined(schema))
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return _least(options[0])
    if "const" in schema or "enum" in schema:
        return schema.get("const", (schema.get("enum") or [None])[0])
    match schema.get("type"):
        case "string":
            return "2026-01-01T00:00:00Z" if schema.get("format") == "date-time" else "xxx"
        case "number" | "integer":
            return schema.get("minimum", 0)
        case "boolean":
            return False
        case "array":
            return [_least(schema["items"])]
        case "object":
            return {name: _least(schema["properties"][name]) for name in schema.get("required", ())}
    return None


def _defined(schema: Json) -> Json:
    found: Json = _SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return found
