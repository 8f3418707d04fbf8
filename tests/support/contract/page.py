"""Renders the AsyncAPI document as a page to read."""

import json
from collections.abc import Iterator
from typing import Any

Document = dict[str, Any]
_ROOTS = ("CreateSessionRequest", "CancelSessionRequest", "CreateSessionResponse", "RequestEvent")
_MANY = 8  # values of an enum that are shown
_LONG = 80  # characters of a pattern that nobody reads
_DIRECTIONS = {"receive": "to the worker", "send": "from the worker"}


def page(document: Document) -> str:
    info = document["info"]
    lines = [
        f"# {info['title']}: messages",
        "",
        "Made by `make generate`, as `schemas/json/asyncapi.json` is. Rules: [contract.md](contract.md).",
        "",
        info["description"],
        "",
        f"Contract version {info['version']}.",
        *_operations(document),
        *_topology(document["x-topology"]),
        *_messages(document),
        *_codes(document["x-failure-codes"]),
        *_objects(document["components"]["schemas"]),
    ]
    return "\n".join(lines) + "\n"


def _operations(document: Document) -> Iterator[str]:
    yield from ("", "## Operations")
    for operation in document["operations"].values():
        channel = _found(document, operation["channel"])
        exchange = channel["bindings"]["amqp"]["exchange"]
        key = "(any)" if exchange["type"] == "fanout" else f"`{channel['address']}`"
        messages = [_found(document, _found(document, message)) for message in operation["messages"]]
        yield from ("", f"### {operation['title']}", "")
        if summary := operation.get("summary"):
            yield from (summary, "")
        yield from (channel["description"], "")
        yield f"- direction: {_DIRECTIONS[operation['action']]}"
        yield f"- exchange: `{exchange['name']}` ({exchange['type']}), routing key {key}"
        if queue := channel.get("x-queue"):
            yield f"- queue behind it: `{queue}`"
        yield from (f"- message: [{message['title']}](#{_anchor(message['title'])})" for message in messages)
        if reply := operation.get("reply"):
            (message,) = (_found(document, _found(document, message)) for message in reply["messages"])
            where = reply["address"]["description"]
            yield f"- reply: [{message['title']}](#{_anchor(message['title'])}). To: {where}"


def _topology(topology: Document) -> Iterator[str]:
    yield from ("", "## Exchanges and queues", "", "All are durable.", "")
    yield from ("| exchange | kind |", "|---|---|")
    yield from (f"| `{exchange['name']}` | {exchange['kind']} |" for exchange in topology["exchanges"])
    yield from ("", "| queue | arguments |", "|---|---|")
    for queue in topology["queues"]:
        shown = ", ".join(f"`{name}={value}`" for name, value in queue["arguments"].items())
        yield f"| `{queue['name']}` | {shown} |"
    yield from ("", "| queue | is bound to | with key |", "|---|---|---|")
    for binding in topology["bindings"]:
        yield f"| `{binding['queue']}` | `{binding['exchange']}` | {_code(binding['key'])} |"


def _messages(document: Document) -> Iterator[str]:
    yield from ("", "## Messages")
    for message in document["components"]["messages"].values():
        yield from ("", f"### {message['title']}", "")
        payload = message["payload"]
        if "$ref" in payload:
            name = payload["$ref"].rpartition("/")[2]
            yield from (f"Body: JSON, [{name}](#{_anchor(name)}).", "")
        else:
            yield from (payload["description"], "")
        for heading, part in (("property", "x-amqp-properties"), ("header", "headers")):
            if part in message:
                yield from _fields(message[part], heading)
                yield ""
        for example in message.get("examples", []):
            yield from (example["summary"], "", "```json")
            if "headers" in example:
                yield f"// headers: {json.dumps(example['headers'])}"
            yield from (json.dumps(example["payload"], indent=2), "```", "")


def _codes(codes: Document) -> Iterator[str]:
    yield from ("## Failure codes", "", *codes_table(codes))


def codes_table(codes: Document) -> Iterator[str]:
    yield from ("| `metadata.code` | what it means | what to do |", "|---|---|---|")
    yield from (f"| `{code}` | {found['meaning']} | {found['remedy']} |" for code, found in codes.items())


def _objects(schemas: Document) -> Iterator[str]:
    yield from ("", "## Objects", "", "A field in bold is required.")
    for name in sorted(schemas, key=lambda name: (name not in _ROOTS, name)):
        schema = schemas[name]
        yield from ("", f"### {name}", "")
        if description := schema.get("description"):
            yield from (" ".join(description.split()), "")
        if schema.get("properties"):
            yield from _fields(schema, "field")
        else:
            yield _kind(schema)


def _fields(schema: Document, heading: str) -> Iterator[str]:
    required = schema.get("required", [])
    yield from (f"| {heading} | value | note |", "|---|---|---|")
    for name, field in schema["properties"].items():
        shown = f"**`{name}`**" if name in required else f"`{name}`"
        yield f"| {shown} | {_kind(field)} | {_note(field)} |"


def _note(field: Document) -> str:
    notes = [" ".join(field.get("description", "").split())] if "description" in field else []
    if field.get("default") is not None:
        notes.append(f"Default: `{json.dumps(field['default'])}`.")
    if field.get("deprecated"):
        notes.append("Deprecated.")
    return " ".join(notes).replace("|", "\\|")


def _kind(schema: Document) -> str:
    """Describes a value's type and bounds in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{_anchor(name)})"
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            return " or ".join(dict.fromkeys(_kind(option) for option in schema[choice]))
    if "const" in schema:
        return _code(schema["const"])
    if "enum" in schema:
        values = [_code(value) for value in schema["enum"]]
        more = f" and {len(values) - _MANY} more" if len(values) > _MANY else ""
        return ", ".join(values[:_MANY]) + more
    if schema.get("type") == "array":
        return f"array of {_kind(schema.get('items', {}))}"
    words = [schema.get("format") or schema.get("type") or "anything", *_bounds(schema)]
    return ", ".join(words).replace("|", "\\|")


def _bounds(schema: Document) -> Iterator[str]:
    names = {
        "minLength": "at least {} characters", "maxLength": "at most {} characters",
        "minimum": "from {}", "maximum": "to {}", "pattern": "`{}`",
    }  # fmt: skip
    for name, words in names.items():
        if name == "pattern" and ("format" in schema or len(schema.get("pattern", "")) > _LONG):
            continue  # the name of the format, or the field's note, says it to people
        if name in schema:
            value = schema[name]
            yield words.format(f"{value:g}" if isinstance(value, float) else value)


def _found(document: Document, reference: Document) -> Document:
    found: Any = document
    for part in reference["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def _code(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return f"`{text}`" if text else "(empty)"


def _anchor(title: str) -> str:
    kept = (letter for letter in title.lower() if letter.isalnum() or letter in " -_")
    return "".join(kept).replace(" ", "-")
