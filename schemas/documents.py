"""The contract as JSON Schemas, for producers and subscribers in other languages."""

from typing import Any

from schemas.cancel import CancelSessionRequest
from schemas.request import CreateSessionRequest
from schemas.response import CreateSessionResponse
from schemas.session import Session


def json_schemas() -> dict[str, dict[str, Any]]:
    """Each document under the name of its copy in `schemas/json`; a test compares the two."""
    return {
        "cancel-session-request.schema.json": CancelSessionRequest.model_json_schema(),
        "create-session-request.schema.json": CreateSessionRequest.model_json_schema(),
        "create-session-response.schema.json": CreateSessionResponse.model_json_schema(),
        "session.schema.json": Session.model_json_schema(),
    }
