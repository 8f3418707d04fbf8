"""An inline Twilio number and what it does with incoming calls."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.assistant.destination import Destination
from schemas.base import StrictModel, Text40
from schemas.server import Server


class TransferPhoneNumberHookAction(StrictModel):
    """Hand the call over."""

    type: Literal["transfer"]
    destination: Destination | None = None


class SayPhoneNumberHookAction(StrictModel):
    """Speak a text."""

    type: Literal["say"]
    exact: Annotated[str, Field(max_length=4000)]


PhoneNumberHookAction = Annotated[
    TransferPhoneNumberHookAction | SayPhoneNumberHookAction, Field(discriminator="type")
]


class PhoneNumberHookCallRinging(StrictModel):
    """What is done while an incoming call rings."""

    on: Literal["call.ringing"]
    do: list[PhoneNumberHookAction]


class ImportTwilioPhoneNumberDTO(StrictModel):
    """The number's set-up. The token, the key and the API secret are secret."""

    fallback_destination: Destination | None = None
    hooks: list[PhoneNumberHookCallRinging] | None = None
    sms_enabled: bool | None = True
    # Pydantic's own `deprecated` would warn at every look at this required field.
    twilio_phone_number: str = Field(json_schema_extra={"deprecated": True})
    twilio_account_sid: str
    twilio_auth_token: str | None = None
    twilio_api_key: str | None = None
    twilio_api_secret: str | None = None
    name: Text40 | None = None
    assistant_id: str | None = None
    workflow_id: str | None = None
    squad_id: str | None = None
    server: Server | None = None
