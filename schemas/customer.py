"""The customer that a session is with."""

from typing import Annotated

from pydantic import Field

from schemas.assistant.assistant import AssistantOverrides
from schemas.base import StrictModel, Text40
from schemas.e164 import SWITCHED, SwitchedNumber


class CreateCustomerDTO(StrictModel):
    """The customer, with changes to the assistant for them alone."""

    model_config = SWITCHED

    number_e164_check_enabled: bool | None = True
    extension: Annotated[str, Field(max_length=10)] | None = None
    assistant_overrides: AssistantOverrides | None = None
    number: SwitchedNumber | None = None
    sip_uri: str | None = None
    name: Text40 | None = None
