"""The response: a subscriber receives exactly one body per request."""

from datetime import UTC, datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from schemas.base import iso_text
from schemas.status import RequestStatus


def _now() -> str:
    return iso_text(datetime.now(UTC))


class SessionCreatedPayload(BaseModel):
    """Response payload for session creation."""

    model_config = ConfigDict(frozen=True)

    session_id: str = Field(
        description="Created session ID (ts_yymmdd_xxx)",
        examples=["ts_251013_tool001", "ts_250920_exec456"],
    )
    casefile_id: Annotated[str, Field(description="Casefile ID in format cf_YYMMDD_code")] | None = Field(
        default=None,
        description="Optional associated casefile ID",
        examples=["cf_251013_abc123"],
    )
    created_at: str = Field(
        description="Session creation timestamp (ISO 8601)",
        examples=["2025-10-13T14:30:00Z", "2025-10-13T09:15:30+00:00"],
    )


class CreateSessionResponse(BaseModel):
    """Response for session creation."""

    model_config = ConfigDict(frozen=True)

    request_id: UUID = Field(description="ID of the originating request")
    status: RequestStatus = Field(description="Request processing status")
    payload: SessionCreatedPayload = Field(description="Response payload")
    timestamp: str = Field(default_factory=_now, description="Response timestamp")
    error: str | None = Field(default=None, description="Error message if status is FAILED")
    metadata: dict[str, Any] = Field(default_factory=dict, description="Additional metadata for the response")

    @model_validator(mode="after")
    def _failed_means_error(self) -> Self:
        if (self.status is RequestStatus.FAILED) != (self.error is not None):
            raise PydanticCustomError("reason", "a failed response, and no other, has an error")
        return self
