"""The response exactly as it is sent: stricter than the document of it that was given."""

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from schemas.failure import FailureCode
from schemas.session import CasefileId

_DAY = "[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])"
_SessionId = Annotated[str, Field(pattern=f"^ts_{_DAY}_[0-9a-z]+$", examples=["ts_260102_0g5dprhtm0c5n"])]
_Moment = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}\+00:00$",
        examples=["2026-01-02T03:04:05.120000+00:00"],
        json_schema_extra={"format": "date-time"},
    ),
]
_RequestId = Annotated[
    UUID, Field(json_schema_extra={"pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"})
]


class ResponsePayload(BaseModel):
    """The session, or the id that was reserved for it."""

    session_id: _SessionId = Field(description="If the request failed, nothing stands under it")
    casefile_id: CasefileId | None = Field(description="That of the request")
    created_at: _Moment


class FieldError(BaseModel):
    """What is wrong with one field of a request; never the value that was sent."""

    field: str = Field(description="Its path, or what else is meant, in parentheses")
    reason: str


def _errors_if_invalid(schema: dict[str, Any]) -> None:
    code = {"const": FailureCode.INVALID_REQUEST.value}
    schema["if"] = {"type": "object", "properties": {"code": code}, "required": ["code"]}
    schema["then"] = {"type": "object", "required": ["errors"]}


class FailureMetadata(BaseModel):
    """Why there is no session, for programs."""

    model_config = ConfigDict(json_schema_extra=_errors_if_invalid)

    code: FailureCode
    errors: list[FieldError] = Field(
        default_factory=list, min_length=1, description="Always there if the code is `invalid_request`"
    )
    recorded: Literal[False] = Field(
        default_factory=lambda: False,
        description="Only there if nothing was recorded: the same id may be sent again",
    )


class _Response(BaseModel):
    request_id: _RequestId
    payload: ResponsePayload
    timestamp: _Moment


class CompletedResponse(_Response):
    """There is a session."""

    status: Literal["completed"]
    error: None
    metadata: dict[str, Any] = Field(description="What the worker, or its handler, has to say of the session")


class FailedResponse(_Response):
    """There is no session, and why."""

    status: Literal["failed"]
    error: str = Field(description="A sentence for people")
    metadata: FailureMetadata


STRICT_RESPONSE: Final[TypeAdapter[CompletedResponse | FailedResponse]] = TypeAdapter(
    Annotated[
        CompletedResponse | FailedResponse,
        Field(
            discriminator="status",
            title="CreateSessionResponse",
            description="What a worker of this version sends, exactly. Later ones may add fields, keys and "
            "failure codes: generate code and write tests from this one; to check what arrives, take the "
            "document without `strict`.",
        ),
    ]
)
