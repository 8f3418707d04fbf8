"""What a producer publishes."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from schemas.base import IsoText, JsonObject, StrictModel
from schemas.session import CreateSessionPayload


@dataclass(frozen=True, slots=True)
class _Canonical:
    """A UUID in its canonical form: other spellings of an id would not be found again as text."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        canonical = core_schema.str_schema(
            strict=True, pattern="^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"
        )
        return core_schema.union_schema(
            [
                core_schema.chain_schema([canonical, core_schema.uuid_schema(strict=False)]),
                core_schema.is_instance_schema(UUID),
            ],
            mode="left_to_right",
            custom_error_type="reason",
            custom_error_message="must be a UUID of 36 characters, 8-4-4-4-12",
            serialization=core_schema.to_string_ser_schema(when_used="json"),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "format": "uuid"}


RequestId = Annotated[UUID, _Canonical()]


class CreateSessionRequest(StrictModel):
    """A request to create a session; `request_id` is its idempotency key."""

    request_id: RequestId
    org_id: Annotated[str, Field(min_length=1, max_length=255)]
    user_id: Annotated[str, Field(max_length=255)] | None = None
    operation: Literal["create_session"]
    payload: CreateSessionPayload
    timestamp: IsoText | None = None
    metadata: JsonObject | None = Field(default_factory=dict)
