"""The session: as a request asks for it, and as it is recorded."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from schemas.assistant.assistant import CreateAssistantDTO
from schemas.base import DateTime, Number, Range, Reason, StrictModel, Text40
from schemas.customer import CreateCustomerDTO
from schemas.message import Message
from schemas.phone_number import ImportTwilioPhoneNumberDTO

SessionState = TypeAliasType("SessionState", Literal["active", "completed"])

CasefileId = Annotated[
    str,
    Field(pattern=r"^cf_[0-9]{6}_[A-Za-z0-9]+$"),
    Reason("must be cf_, six digits, _ and a code of letters and digits"),
]


class CreateSessionDTO(StrictModel):
    """What may be said about a new session; `{}` is enough."""

    name: Text40 | None = None
    status: SessionState | None = None
    expiration_seconds: Annotated[Number, Range(60, 2592000)] | None = None
    assistant_id: str | None = None
    assistant: CreateAssistantDTO | None = None
    messages: list[Message] | None = None
    customer: CreateCustomerDTO | None = None
    phone_number_id: str | None = None
    phone_number: ImportTwilioPhoneNumberDTO | None = None

    def may_hold_secrets(self) -> bool:
        """Tells whether an object that can hold a secret is set; cheap: only checks which fields are set."""
        return (
            self.assistant is not None
            or self.phone_number is not None
            or (self.customer is not None and self.customer.assistant_overrides is not None)
        )


class CreateSessionPayload(CreateSessionDTO):
    """The payload of a create-session request."""

    casefile_id: CasefileId | None = None


class _SetByServer(StrictModel):
    id: str
    org_id: str
    created_at: DateTime
    updated_at: DateTime


class Session(CreateSessionDTO, _SetByServer):
    """The session record."""
