"""Makes JSON Schemas of the contract, for producers and subscribers in other languages."""

from typing import Any, Final

from pydantic.json_schema import GenerateJsonSchema

from schemas.cancel import CancelSessionRequest
from schemas.event import RequestEvent
from schemas.request import CreateSessionRequest
from schemas.response import CreateSessionResponse
from schemas.session import Session
from schemas.strict_response import STRICT_RESPONSE

CONTRACT_VERSION: Final = "1.1.0"
"""The version of the messages; the worker has its own. `docs/contract.md` tells when it grows."""

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


class Untitled(GenerateJsonSchema):
    """Leaves out the titles of fields: they repeat the fields' names, and generators make a type of each."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401, ARG002 — as it is there
        return False


def json_schemas() -> dict[str, dict[str, Any]]:
    """Makes each document, under the name of its copy in `schemas/json`; a test compares the two."""
    made = {
        "cancel-session-request": CancelSessionRequest.model_json_schema(schema_generator=Untitled),
        "create-session-request": CreateSessionRequest.model_json_schema(schema_generator=Untitled),
        # This document was given: it stays the same to the word.
        "create-session-response": CreateSessionResponse.model_json_schema(),
        "create-session-response.strict": STRICT_RESPONSE.json_schema(schema_generator=Untitled),
        "request-event": RequestEvent.model_json_schema(schema_generator=Untitled),
        "session": Session.model_json_schema(schema_generator=Untitled),
    }
    return {f"{name}.schema.json": _published(name, schema) for name, schema in made.items()}


def without_discriminators(schema: Any) -> Any:  # noqa: ANN401 — any JSON
    """Takes OpenAPI's `discriminator` out of a schema: JSON Schema has no such word, and in AsyncAPI it means
    something else. Nothing is lost: each variant states its value as a `const` or an `enum`.
    """
    if isinstance(schema, dict):
        return {
            key: without_discriminators(value)
            for key, value in schema.items()
            if not (key == "discriminator" and "oneOf" in schema)
        }
    if isinstance(schema, list):
        return [without_discriminators(item) for item in schema]
    return schema


def _published(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Adds the dialect, and a URN as the id: it is unique to the version, and nobody has to serve it."""
    urn = f"urn:session-worker:{name}:{CONTRACT_VERSION}"
    return {"$schema": _DIALECT, "$id": urn, **without_discriminators(schema)}
