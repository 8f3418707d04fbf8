"""What is given, as models: each made of the value that an operation returns, so that they are the same.

They are for the document and its tests; what is given is written from the values themselves.
"""

from typing import Annotated, Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.json_schema import SkipJsonSchema

_OPEN = ConfigDict(extra="ignore", defer_build=True)  # most processes never make the document

Fields = dict[str, Any]
Next = Annotated[str | None, Field(description="the address of the next page; null: this is the last one")]


def fields_of(record: type[Any], *but: str) -> Fields:
    """Return the fields of a value, but for some, for `model`."""
    names: tuple[str, ...] = record._fields
    hints = get_type_hints(record)
    return {name: hints[name] for name in names if name not in but}


def model(name: str, fields: Fields, about: str | None = None) -> type[BaseModel]:
    """Make a model, all of whose fields are always there."""
    made: Any = {each: (hint, ...) for each, hint in fields.items()}
    return create_model(name, __config__=_OPEN, __doc__=about, **made)


def of(name: str, record: type[Any], **more: Any) -> type[BaseModel]:  # noqa: ANN401 — a type
    """Make the model of a value, with further fields."""
    return model(name, {**fields_of(record), **more})


def listed(name: str, item: type[BaseModel], **more: Any) -> type[BaseModel]:  # noqa: ANN401 — types
    """Make the model of a list that has no pages."""
    return model(name, {"items": list[item], **more})  # type: ignore[valid-type]  # it is a type


def paged(name: str, item: type[BaseModel], **more: Any) -> type[BaseModel]:  # noqa: ANN401 — types
    """Make the model of a page of a list."""
    return listed(name, item, next=Next, **more)


class ProblemDocument(BaseModel):
    """What went wrong (RFC 9457)."""

    model_config = ConfigDict(title="Problem")

    type: str
    title: str
    status: int
    detail: str
    right: str | SkipJsonSchema[None] = None
    errors: list[dict[str, str]] | SkipJsonSchema[None] = None
    accepted: list[str] | SkipJsonSchema[None] = None
