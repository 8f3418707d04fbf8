"""Makes the Markdown table of all settings, which is checked in as `docs/settings.md`."""

from typing import Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from worker.secret_files import file_variable
from worker.settings import Settings, secret_fields, variable_name

_HEAD = """\
# Settings

Read once at start: from the environment, and what that does not set from the file that `--env-file` names. A
wrong value is named with its variable, and the exit code is 2. Numbers may have a fraction where the type is
number. A secret may also be in a file, whose path the variable with `_FILE` has: then it is in no
environment. One line end after it does not count. Set one of the two, not both. This page is printed by
`session-worker schema settings`; change `worker/settings.py`, not the page.

| variable | type, range | default | meaning |
|---|---|---|---|
"""
_TYPES: dict[object, str] = {
    int: "integer",
    float: "number",
    str: "text",
    bool: "true or false",
    SecretStr: "text, secret",
}
_BOUNDS = (("gt", "> {}"), ("ge", "≥ {}"), ("lt", "< {}"), ("le", "≤ {}"))


def settings_table() -> str:
    rows = (
        " | ".join(
            (
                f"| {_variables(name)}",
                _type(field),
                _default(field),
                f"{field.description} |",
            )
        )
        for name, field in Settings.model_fields.items()
    )
    return _HEAD + "\n".join(rows) + "\n"


def _variables(name: str) -> str:
    variable = variable_name(name)
    return f"`{variable}`" + (f" or `{file_variable(variable)}`" if name in secret_fields() else "")


def _type(field: FieldInfo) -> str:
    kind = field.annotation
    if get_origin(kind) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(kind))
    parts = [_TYPES[kind]]
    for rule in field.metadata:
        for bound, words in _BOUNDS:
            if (limit := getattr(rule, bound, None)) is not None:
                parts.append(words.format(_number(limit)))
        if pattern := getattr(rule, "pattern", None):
            parts.append(f"`{pattern}`")
    return ", ".join(parts)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if isinstance(value, SecretStr) or value == "":
        return "empty"
    return f"`{value}`" if isinstance(value, str) else _number(value)


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
