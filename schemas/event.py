"""What is told of a request while it is on its way: one event for each step that is on record."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from schemas.status import RequestStatus


class EventKind(StrEnum):
    """What has happened to a request."""

    ACCEPTED = "accepted"
    WAITING = "waiting"
    PROCESSING = "processing"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL_KINDS: Final = frozenset({EventKind.COMPLETED, EventKind.FAILED, EventKind.CANCELLED})
"""After one of these a request has no other event."""


class RequestEvent(BaseModel):
    """One step of a request. It may come twice, with the same `number`; the first copies come in order."""

    model_config = ConfigDict(frozen=True)

    request_id: UUID = Field(description="The request")
    kind: EventKind = Field(description="What has happened; others may be added")
    status: RequestStatus = Field(description="The status of the request from now on")
    attempt: Annotated[int, Field(ge=0)] = Field(description="The attempt it is at; 0: none has begun")
    number: Annotated[int, Field(ge=1)] = Field(
        description="Grows with each event of a request, not always by one; a repeated event has the same"
    )
    occurred_at: datetime = Field(description="When it was recorded (ISO 8601)")
    org_id: str | None = Field(default=None, description="The organisation that the request is for")
    code: str | None = Field(default=None, description="The failure code: of `failed` and `cancelled`")
    reason: str | None = Field(
        default=None,
        max_length=500,
        description="Of `waiting` what it waits for, of `retrying` why the attempt failed if that is known, "
        "of `failed` and `cancelled` the error of its response",
    )
    until: datetime | None = Field(
        default=None,
        description="Of `retrying` when the next attempt is due, of `waiting` when it may begin, if there is "
        "such a time",
    )

    @property
    def is_final(self) -> bool:
        """True when the request has no event after this one."""
        return self.kind in FINAL_KINDS
