"""Writes the types of the TypeScript package from the JSON Schemas, and its version from pyproject.toml."""

import json
import re
from pathlib import Path
from typing import Any

from schemas import json_schemas

_FOLDER = Path(__file__).parents[3] / "clients" / "typescript"
_TYPES = _FOLDER / "src" / "types.ts"
_PACKAGE = _FOLDER / "package.json"
# What a requester writes, and what it reads: of responses, the document that code is to be generated from.
_DOCUMENTS = ("create-session-request", "cancel-session-request", "create-session-response.strict")
_HEAD = """\
// Made by `make generate` from the JSON Schemas in schemas/json: change those, not this file.
//
// A type says which fields there are and of which kind. What only the schema says (patterns, lengths,
// ranges) is for the worker to refuse, or for a validator of yours with the schema itself.
"""
_BARE = re.compile(r"[A-Za-z_$][\w$]*")
_LINE = 110

Schema = dict[str, Any]


def texts(version: str) -> dict[Path, str]:
    """Returns the content of the files that are made."""
    package = {**json.loads(_PACKAGE.read_text("utf-8")), "version": version}
    return {_TYPES: _types(), _PACKAGE: json.dumps(package, indent=2, ensure_ascii=False) + "\n"}


def _types() -> str:
    schemas = json_schemas()
    named: dict[str, Schema] = {}
    for name in _DOCUMENTS:
        document = schemas[f"{name}.schema.json"]
        for title, schema in {**document.get("$defs", {}), document["title"]: document}.items():
            assert named.setdefault(title, schema) == schema, f"two documents differ about {title}"
    return "\n".join([_HEAD, *(_declaration(title, named[title]) for title in sorted(named))])


def _declaration(title: str, schema: Schema) -> str:
    said = _comment(schema, "")
    if "properties" in schema:
        return f"{said}export interface {title} {_fields(schema, '')}\n"
    line = f"{said}export type {title} = {_type(schema, '')};\n"
    if len(line.splitlines()[-1]) > _LINE:
        choices = "".join(f"\n  | {choice}" for choice in _choices(schema, ""))
        line = f"{said}export type {title} ={choices};\n"
    return line


def _fields(schema: Schema, indent: str) -> str:
    inner = f"{indent}  "
    required = schema.get("required", ())
    lines = []
    for name, field in schema["properties"].items():
        mark = "" if name in required else "?"
        key = name if _BARE.fullmatch(name) else json.dumps(name)
        lines.append(f"{_comment(field, inner)}{inner}{key}{mark}: {_type(field, inner)};\n")
    # Where unknown fields are kept, the second spelling of a known one is refused.
    refused = schema.get("propertyNames", {}).get("not", {}).get("enum", ())
    lines += [f"{inner}{name}?: never;\n" for name in refused]
    if schema.get("additionalProperties"):
        lines.append(f"{inner}[key: string]: unknown;\n")
    return "{\n" + "".join(lines) + indent + "}"


def _type(schema: Schema, indent: str) -> str:
    return " | ".join(_choices(schema, indent))


def _choices(schema: Schema, indent: str) -> list[str]:
    """Returns the types that a value may have."""
    if parts := schema.get("anyOf") or schema.get("oneOf"):
        return list(dict.fromkeys(choice for part in parts for choice in _choices(part, indent)))
    if "enum" in schema or "const" in schema:
        return [json.dumps(value) for value in schema.get("enum") or [schema["const"]]]
    if "$ref" in schema:
        return [schema["$ref"].rpartition("/")[2]]
    return [_plain(schema, indent)]


def _plain(schema: Schema, indent: str) -> str:
    match schema:
        case {"type": "array", "items": dict(items)}:
            choices = _choices(items, indent)
            return f"{choices[0]}[]" if len(choices) == 1 else f"({' | '.join(choices)})[]"
        case {"type": "object", "properties": _}:
            return _fields(schema, indent)
        case {"type": "object", "additionalProperties": dict(values)}:
            return f"Record<string, {_type(values, indent)}>"
        case {"type": "object"}:
            return "Record<string, unknown>"
        case {"type": "integer" | "number"}:
            return "number"
        case {"type": "string" | "boolean" | "null" as kind}:
            return str(kind)
    raise AssertionError(f"no type is known for {schema}")


def _comment(schema: Schema, indent: str) -> str:
    said = schema.get("description", "").replace("*/", "* /")
    return f"{indent}/** {said} */\n" if said else ""
