"""The wire contract: the messages of the request queue and of the response queue."""

from schemas.assistant.assistant import AssistantOverrides, CreateAssistantDTO
from schemas.cancel import CancelSessionRequest
from schemas.customer import CreateCustomerDTO
from schemas.documents import json_schemas
from schemas.errors import field_errors
from schemas.event import EventKind, RequestEvent
from schemas.failure import FailureCode
from schemas.ids import is_session_id, new_request_id, session_id
from schemas.message import (
    AssistantMessage,
    DeveloperMessage,
    Message,
    SystemMessage,
    ToolMessage,
    UserMessage,
)
from schemas.phone_number import ImportTwilioPhoneNumberDTO
from schemas.request import CreateSessionRequest
from schemas.response import CreateSessionResponse, SessionCreatedPayload
from schemas.secret import map_secrets, may_hold_secrets
from schemas.server import Server
from schemas.session import CreateSessionDTO, CreateSessionPayload, Session
from schemas.status import RequestStatus

__all__ = [
    "AssistantMessage",
    "AssistantOverrides",
    "CancelSessionRequest",
    "CreateAssistantDTO",
    "CreateCustomerDTO",
    "CreateSessionDTO",
    "CreateSessionPayload",
    "CreateSessionRequest",
    "CreateSessionResponse",
    "DeveloperMessage",
    "EventKind",
    "FailureCode",
    "ImportTwilioPhoneNumberDTO",
    "Message",
    "RequestEvent",
    "RequestStatus",
    "Server",
    "Session",
    "SessionCreatedPayload",
    "SystemMessage",
    "ToolMessage",
    "UserMessage",
    "field_errors",
    "is_session_id",
    "json_schemas",
    "map_secrets",
    "may_hold_secrets",
    "new_request_id",
    "session_id",
]
