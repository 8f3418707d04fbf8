"""The base of every object of the contract: its strictness and its small vocabulary of types."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import (
    AliasChoices,
    AliasGenerator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

# The only fields whose alias is not made from their name.
_IRREGULAR = {
    "tool_calls": "tool_calls",
    "tool_call_id": "tool_call_id",
    "open_ai_key": "openAIKey",
    "open_ai_endpoint": "openAIEndpoint",
}


def wire_alias(name: str) -> str:
    """Makes the camelCase alias of a field."""
    if name in _IRREGULAR:
        return _IRREGULAR[name]
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)


def _accepted_names(name: str) -> str | AliasChoices:
    # The name comes first: errors about absent fields and the JSON Schema use the first choice.
    alias = wire_alias(name)
    return name if alias == name else AliasChoices(name, alias)


class StrictModel(BaseModel):
    """Takes snake_case and camelCase, writes snake_case, and refuses what it does not know."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        serialize_by_alias=True,  # only for names that Python reserves: `async`, `schema`
        alias_generator=AliasGenerator(validation_alias=_accepted_names),
    )

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Names the fields without their values: a repr may end up in a log, where no secret may stand."""
        yield from ((None, name) for name in sorted(self.model_fields_set))


class ProviderBlock(StrictModel):
    """An object chosen by `provider`, which keeps unknown fields as they came. A known field in its second
    spelling beside its first is refused: it would be kept, and nothing would have checked its value.
    """

    model_config = ConfigDict(extra="allow")

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Forbids second spellings as names of unknown fields: the documents write snake_case alone."""
        made = handler(schema)
        second = [alias for name in cls.model_fields if (alias := wire_alias(name)) != name]
        if second:
            handler.resolve_ref_schema(made)["propertyNames"] = {"not": {"enum": second}}
        return made

    @model_validator(mode="after")
    def _each_field_once(self) -> Self:
        extra = self.model_extra or {}
        twice = [alias for name in type(self).model_fields if (alias := wire_alias(name)) in extra]
        if twice:
            raise ValidationError.from_exception_data(
                type(self).__name__,
                [InitErrorDetails(type="extra_forbidden", loc=(alias,), input=None) for alias in twice],
            )
        return self


@dataclass(frozen=True, slots=True)
class Reason:
    """Replaces every error of the annotated type by one sentence."""

    text: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.custom_error_schema(
            handler(source), custom_error_type="reason", custom_error_message=self.text
        )


@dataclass(frozen=True, slots=True)
class Range:
    """Requires a finite number within inclusive bounds. An integer stays one; a boolean is no number."""

    low: float | None = None
    high: float | None = None

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        low, high = self.low, self.high
        return core_schema.union_schema(
            [
                core_schema.int_schema(
                    strict=True,
                    ge=None if low is None else math.ceil(low),
                    le=None if high is None else math.floor(high),
                ),
                core_schema.float_schema(strict=True, ge=low, le=high, allow_inf_nan=False),
            ],
            custom_error_type="reason",
            custom_error_message=self._sentence(),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        bounds = {"minimum": self.low, "maximum": self.high}
        return {"type": "number"} | {k: v for k, v in bounds.items() if v is not None}

    def _sentence(self) -> str:
        match self.low, self.high:
            case None, None:
                return "must be a finite number"
            case low, None:
                return f"must be a number of at least {low}"
            case None, high:
                return f"must be a number of at most {high}"
            case low, high:
                return f"must be a number from {low} to {high}"


def iso_text(moment: datetime) -> str:
    """Writes the moment in ISO 8601, always with six digits of a second: by default zeros are left
    out.
    """
    return moment.isoformat(timespec="microseconds")


def _checked_moment(value: object) -> object:
    """Checks ISO 8601 by the calendar and keeps the text as it came; a `datetime` becomes its text."""
    if isinstance(value, datetime):
        return iso_text(value)
    if isinstance(value, str):
        try:
            datetime.fromisoformat(value.upper())
        except ValueError:
            raise PydanticCustomError("reason", "must be an ISO 8601 date and time") from None
    return value


Number = int | float
AnyNumber = Annotated[Number, Range()]
JsonObject = dict[str, Any]
"""A free-form object: it is data, and its keys are never renamed."""

Text40 = Annotated[str, Field(max_length=40)]
Text1000 = Annotated[str, Field(max_length=1000)]
Text10000 = Annotated[str, Field(max_length=10000)]

# The forms of ISO 8601: a date of the calendar or of a week, then an optional time and its optional offset,
# with separators or without. Python reads more forms, and requests have always been accepted in them: so only
# the documents state this pattern.
_DATE = "[0-9]{4}(-[0-9]{2}-[0-9]{2}|[0-9]{4}|-[Ww][0-9]{2}(-[1-7])?|[Ww][0-9]{2}[1-7]?)"
_CLOCK = r"[0-9]{2}(:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?|[0-9]{2}([0-9]{2}([.,][0-9]+)?)?)?"
_ISO_8601 = f"^{_DATE}([Tt ]{_CLOCK}([Zz]|[+-][0-9]{{2}}(:?[0-9]{{2}})?)?)?$"
IsoText = Annotated[
    str,
    Field(json_schema_extra={"pattern": _ISO_8601, "examples": ["2026-01-02T03:04:05Z"]}),
    BeforeValidator(_checked_moment),
]
DateTime = Annotated[
    str,
    Field(
        pattern=(
            "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}"
            r"(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$"
        ),
        json_schema_extra={"format": "date-time"},
    ),
    Reason("must be an ISO 8601 date and time with its offset"),
    BeforeValidator(_checked_moment),
]

# The URI of RFC 3986. `\x24` is a dollar: some validators take each `$` for the end of a text.
_LETTER = r"[-A-Za-z0-9._~!\x24&'()*+,;=]|%[0-9A-Fa-f]{2}"
_HOST = rf"((:|{_LETTER})*@)?(\[[0-9A-Fa-fv:.]+\]|({_LETTER})*)(:[0-9]*)?"
_PATH = f"([:@/]|{_LETTER})*"
_REST = f"([:@/?]|{_LETTER})*"
_URI = rf"[A-Za-z][A-Za-z0-9+.-]*:(//{_HOST}(/{_PATH})?|/?(([:@]|{_LETTER}){_PATH})?)(\?{_REST})?(#{_REST})?"
BackgroundSound = Annotated[
    str,
    Field(pattern=f"^(off|office|{_URI})$"),
    Reason("must be 'off', 'office' or a URI"),
]
