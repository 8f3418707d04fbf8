"""Words validation errors so that a producer can act on them, and never repeats a value that was sent."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import ValidationError

from schemas.base import wire_alias
from schemas.readable import LONGEST_PATH, printable, shortened

MAX_ERRORS: Final = 20
_MOST_LOOKED_AT = 10_000  # pydantic makes all errors or none, and 300,000 take a second
_MAX_VALUES = 20

# The location of an error inside a union holds the union's tag, which the producer did not send.
# A field of the first list is a union, or a list of unions, wherever its name occurs; a field of the
# second only if one of these tags follows. A test compares both with the models.
_UNIONS = {
    alias
    for name in (
        "credentials",
        "custom_endpointing_rules",
        "destination",
        "do",
        "fallback_destination",
        "message",
        "model",
        "transcriber",
        "voice",
        "voicemail_detection",
    )
    for alias in (name, wire_alias(name))
}
_UNIONS_AT_TIMES = {
    "messages": {"system", "user", "assistant", "tool", "developer"},
    "hooks": {
        "call.ending",
        "assistant.speech.interrupted",
        "customer.speech.interrupted",
    },
}

_REASONS = {
    "missing": "is required",
    "extra_forbidden": "is not a known field",
    "string_type": "must be a string",
    "string_unicode": "must be valid Unicode",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "bool_type": "must be true or false",
    "list_type": "must be an array",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "union_tag_not_found": "is required",
    "json_invalid": "is not valid JSON",
}


def field_errors(error: ValidationError) -> list[dict[str, str]]:
    """Lists the `field` and `reason` of each error, at most `MAX_ERRORS`, then how many more there are."""
    if (count := error.error_count()) > _MOST_LOOKED_AT:
        return [{"field": "*", "reason": f"{count} errors are too many to list"}]
    details = error.errors(include_url=False, include_input=False)
    listed = [
        {"field": _field(detail["loc"], detail), "reason": _reason(detail)} for detail in details[:MAX_ERRORS]
    ]
    if more := len(details) - len(listed):
        listed.append({"field": "*", "reason": f"{more} more errors are not listed"})
    return listed


def _field(location: tuple[int | str, ...], detail: Mapping[str, Any]) -> str:
    parts = list(_without_tags(location))
    if detail["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        parts.append(detail["ctx"]["discriminator"].strip("'"))
    return shortened(".".join(parts) or "(root)", LONGEST_PATH)


def _without_tags(location: tuple[int | str, ...]) -> Iterator[str]:
    parent = ""
    for part in location:
        if isinstance(part, int):
            yield str(part)
        elif parent in _UNIONS or part in _UNIONS_AT_TIMES.get(parent, ()):
            parent = ""
        else:
            parent = part
            yield printable(part)


def _reason(detail: Mapping[str, Any]) -> str:
    """Words an error from pydantic's context alone: some of its messages quote the input."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "reason":  # our own sentence, see `schemas.base.Reason`
        return str(detail["msg"])
    if kind == "literal_error":
        return _one_of(context["expected"])
    if kind == "union_tag_invalid":
        return _one_of(context["expected_tags"])
    return _REASONS.get(kind, f"is not valid ({kind})").format_map(context)


def _one_of(quoted: str) -> str:
    values = re.findall(r"'[^']*'", quoted)
    if len(values) == 1:
        return f"must be {values[0]}"
    shown = ", ".join(values[:_MAX_VALUES])
    more = len(values) - _MAX_VALUES
    return f"must be one of {shown}" + (f" and {more} more" if more > 0 else "")
