"""The canonical form of a request: the text that is compared when its id comes again."""

from typing import Any

from pydantic import BaseModel

from schemas import CreateSessionRequest
from worker.messages.json_body import compact, in_ascii

_TIMESTAMP = "timestamp"
_MAY_BE_NULL = {"user_id", "userId", "metadata"}


def canonical(request: CreateSessionRequest, rest: dict[str, Any], payload: dict[str, Any], text: str) -> str:
    """Makes the canonical form of a valid request. A null where null means nothing, and an empty `metadata`,
    are left out: an absent field says the same. `rest` and `payload` are its parts as they came, `text` the
    text of both.
    """
    if ":null" not in text and '"metadata":{}' not in text:
        return text
    return compact(_without_empty(rest)) + compact(_without_absent(request.payload, payload))


def canonical_of_refused(document: dict[str, Any]) -> str | None:
    """Makes the canonical form of a request that is not valid; None if it has none."""
    kept = _without_empty({key: value for key, value in document.items() if key != _TIMESTAMP})
    try:
        return compact(kept)
    except (UnicodeEncodeError, ValueError):  # it may be refused for just that
        return in_ascii(kept)
    except RecursionError:
        return None


def _without_empty(members: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in members.items()
        if key not in _MAY_BE_NULL or not (value is None or (key == "metadata" and value == {}))
    }


def _without_absent(model: BaseModel, dumped: dict[str, Any]) -> dict[str, Any]:
    """Leaves out the fields of a model that are null and would also be null if they were absent. Fields that
    the model does not know, and free-form ones, are data: a null in them stays.
    """
    kept = dict(dumped)
    for name, field in type(model).model_fields.items():
        key = field.serialization_alias or name
        if key not in dumped:
            continue
        value = getattr(model, name)
        if value is not None:
            kept[key] = _inside(value, dumped[key])
        elif field.default is None:
            del kept[key]
    return kept


def _inside(value: Any, dumped: Any) -> Any:  # noqa: ANN401 — any JSON
    if isinstance(value, BaseModel):
        return _without_absent(value, dumped)
    if isinstance(value, list):
        return [_inside(item, copy) for item, copy in zip(value, dumped, strict=True)]
    return dumped
