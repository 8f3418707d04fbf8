"""Checks telephone numbers: the one rule of the contract that spans two fields."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo
from pydantic_core import PydanticCustomError

_E164 = r"\+[1-9][0-9]{1,14}"
_LOOSE = r"\+?[a-zA-Z0-9]+"
_IS_E164, _IS_LOOSE = re.compile(_E164), re.compile(_LOOSE)


def _check_number(number: str, info: ValidationInfo) -> str:
    # The switch is validated before the number, so it is in `data` already.
    if info.data.get("number_e164_check_enabled") is False:
        if not _IS_LOOSE.fullmatch(number):
            raise PydanticCustomError("reason", "must be letters and digits after an optional +")
    elif not _IS_E164.fullmatch(number):
        raise PydanticCustomError(
            "reason",
            "must be an E.164 number, + and 2 to 15 digits, unless number_e164_check_enabled is false",
        )
    return number


SwitchedNumber = Annotated[str, Field(min_length=3, max_length=40), AfterValidator(_check_number)]
"""A telephone number; its model has the field `number_e164_check_enabled` before it."""


def _say_how(schema: dict[str, Any]) -> None:
    """States in JSON Schema what `_check_number` does."""
    switch = {"number_e164_check_enabled": {"const": False}}
    schema["if"] = {"type": "object", "properties": switch, "required": list(switch)}
    schema["then"], schema["else"] = _numbers(_LOOSE), _numbers(_E164)


def _numbers(pattern: str) -> dict[str, Any]:
    number = {"anyOf": [{"type": "string", "pattern": f"^{pattern}$"}, {"type": "null"}]}
    return {"type": "object", "properties": {"number": number}}


SWITCHED = ConfigDict(json_schema_extra=_say_how)
"""The configuration of a model that has a `SwitchedNumber`."""
