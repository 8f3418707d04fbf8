"""The one rule of the contract that spans two fields: how a telephone number is checked."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo
from pydantic_core import PydanticCustomError

_E164 = re.compile(r"\+[1-9][0-9]{1,14}")
_LOOSE = re.compile(r"\+?[a-zA-Z0-9]+")


def _check_number(number: str, info: ValidationInfo) -> str:
    # The switch stands before the number in its model, so it is in `data` already.
    if info.data.get("number_e164_check_enabled") is False:
        if not _LOOSE.fullmatch(number):
            raise PydanticCustomError("reason", "must be letters and digits after an optional +")
    elif not _E164.fullmatch(number):
        raise PydanticCustomError(
            "reason",
            "must be an E.164 number, + and 2 to 15 digits, unless number_e164_check_enabled is false",
        )
    return number


SwitchedNumber = Annotated[str, Field(min_length=3, max_length=40), AfterValidator(_check_number)]
"""A number whose model has `number_e164_check_enabled` before it."""
