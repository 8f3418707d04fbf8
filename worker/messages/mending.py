"""Mends the body of a dead letter: members of its JSON are set, renamed or deleted."""

import json
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple
from uuid import UUID

Do = Literal["set", "rename", "delete"]
OWN_ID = "@id"


class Edit(NamedTuple):
    """One change. `value` is what is set there, or the member's new name."""

    do: Do
    path: tuple[str, ...]
    value: Any = None


class Unmendable(Exception):
    """The edits do not fit this body. The message says why, in words for people."""


def edit_from(do: Do, text: str) -> Edit:
    """Read an edit as it is typed: `payload.name="x"` or `org_id=org-7`, `id=request_id`, `payload.extra`.

    What is set is JSON, or else a text as it stands. Raises ValueError.
    """
    left, equals, right = text.partition("=")
    path = tuple(left.strip().split("."))
    if not all(path) or (do == "delete") == bool(equals):
        form = {"set": "PATH=VALUE", "rename": "OLD=NEW", "delete": "PATH"}[do]
        raise ValueError(f"must be {form}, where a path is names with full stops between")
    if do == "delete":
        return Edit(do, path)
    if do == "rename":
        if not right or "." in right:
            raise ValueError("the new name is one name, which stays in the same object: payload.nam=name")
        return Edit(do, path, right)
    try:
        return Edit(do, path, json.loads(right))
    except ValueError:
        return Edit(do, path, right)


def mended(body: bytes, edits: Sequence[Edit], own_id: UUID) -> bytes:
    """Return the body with these changes, in their order. Raises Unmendable; without edits it stays as it is,
    byte by byte. `@id` stands for the dead letter's own id: so each gets a request id of its own, and the
    same one whenever it is mended.
    """
    if not edits:
        return body
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise Unmendable("it is no JSON") from None
    for edit in edits:
        place = _place(document, edit)
        *_, name = edit.path
        if edit.do == "set":
            place[name] = str(own_id) if edit.value == OWN_ID else edit.value
        elif name not in place:
            raise Unmendable(f"it has no {'.'.join(edit.path)}")
        elif edit.do == "delete":
            del place[name]
        elif edit.value in place:
            raise Unmendable(f"it has {edit.value} already")
        else:
            place[edit.value] = place.pop(name)
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _place(document: Any, edit: Edit) -> dict[str, Any]:  # noqa: ANN401 — any JSON
    for depth, name in enumerate(("", *edit.path[:-1])):
        document = document.get(name) if depth and isinstance(document, dict) else document
        if not isinstance(document, dict):
            where = ".".join(edit.path[:depth]) or "it"
            raise Unmendable(f"{where} is no object")
    found: dict[str, Any] = document
    return found
