"""The message that asks for a session."""

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from schemas.base import IsoText, JsonObject, StrictModel
from schemas.session import CreateSessionPayload

_ID = "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"
_NIL_OR_MAX = "^([0-]+|[Ff-]+)$"  # of 36 characters that are a UUID
STORED: Final = "stored"
"""The context of a request that is read back: its id is valid, because it was accepted once."""


def is_blank_id(request_id: UUID) -> bool:
    """Tells whether it is the nil or the max UUID: producers that forget to set an id all send the same."""
    return request_id.int in (0, 2**128 - 1)


def _check_not_blank(request_id: UUID, info: ValidationInfo) -> UUID:
    if is_blank_id(request_id) and info.context != STORED:
        raise PydanticCustomError("reason", "must not be the nil or the max UUID: each request has its own")
    return request_id


@dataclass(frozen=True, slots=True)
class _Canonical:
    """Requires the canonical form of a UUID: an id in another spelling would not be found again as text."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        canonical = core_schema.str_schema(strict=True, pattern=_ID)
        spelled = core_schema.union_schema(
            [
                core_schema.chain_schema([canonical, core_schema.uuid_schema(strict=False)]),
                core_schema.is_instance_schema(UUID),
            ],
            mode="left_to_right",
            custom_error_type="reason",
            custom_error_message="must be a UUID of 36 characters, 8-4-4-4-12",
        )
        return core_schema.with_info_after_validator_function(
            _check_not_blank, spelled, serialization=core_schema.to_string_ser_schema(when_used="json")
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        # Most validators ignore `format` unless they are told to check it; all check a pattern.
        return {"type": "string", "format": "uuid", "pattern": _ID, "not": {"pattern": _NIL_OR_MAX}}


RequestId = Annotated[UUID, _Canonical()]


class CreateSessionRequest(StrictModel):
    """A request to create a session; `request_id` is its idempotency key."""

    request_id: RequestId
    org_id: Annotated[str, Field(min_length=1, max_length=255)]
    user_id: Annotated[str, Field(max_length=255)] | None = None
    operation: Literal["create_session"]
    payload: CreateSessionPayload
    timestamp: IsoText | None = Field(default=None, description="When the request was made, in ISO 8601")
    metadata: JsonObject | None = Field(default_factory=dict)
