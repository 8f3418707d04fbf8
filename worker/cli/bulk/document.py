"""Makes the request that a JSON document and the flags of the command line describe."""

import argparse
import json
from typing import Any
from uuid import UUID

from worker.client import Request

_SPELLINGS = {"requestId": "request_id", "orgId": "org_id", "userId": "user_id"}
_FIELDS = {"request_id", "org_id", "user_id", "operation", "payload", "timestamp", "metadata", "key"}


def is_json(text: str) -> bool:
    try:
        _parse(text)
    except ValueError:
        return False
    return True


def request_in(text: str, options: argparse.Namespace, flags: dict[str, Any]) -> Request:
    """Read a whole request if the document has a payload, else take the document as the payload. Flags win.

    Raises ValueError, whose text goes on where a sentence began with "the request" or "it".
    """
    document = _object(_parse(text), "is not a JSON object")
    given: dict[str, Any] = {"payload": document}
    if "payload" in document:
        given = {_SPELLINGS.get(name, name): value for name, value in document.items()}
    if unknown := sorted(given.keys() - _FIELDS):
        raise ValueError(f"has the unknown field {unknown[0]!r}")
    if given.get("operation", "create_session") != "create_session":
        raise ValueError("asks for an operation that is not create_session")
    return Request(
        org_id=str(options.org_id or given.get("org_id") or "demo"),
        user_id=options.user_id or given.get("user_id"),
        payload={**_object(given["payload"], "has a payload that is not an object"), **flags},
        request_id=options.request_id or _uuid(given.get("request_id")),
        key=options.key or _text(given.get("key"), "has a key that is not a string"),
        metadata={
            **_object(given.get("metadata") or {}, "has metadata that are not an object"),
            **(options.metadata or {}),
        },
        not_before=options.not_before,
    )


def _object(value: object, problem: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise ValueError(problem)


def _text(value: object, problem: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise ValueError(problem)


def _uuid(value: object) -> UUID | None:
    if value is None:
        return None
    try:
        return UUID(str(value))
    except ValueError:
        raise ValueError("has a request_id that is not a UUID") from None


def _parse(text: str) -> object:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("is not UTF-8") from None
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("is nested too deep") from None
    except ValueError:
        raise ValueError("is not JSON") from None
